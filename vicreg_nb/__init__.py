# Generated from settings.ini by `make export`. Do not edit: edit settings.ini.
# cells nbs/09_change_one_thing.py db44e3e54b1ae37b
# text c99a1e3e10d5dfa8

"""vicreg_nb, exported from the notebooks in nbs/."""

__version__ = "0.1.0"
