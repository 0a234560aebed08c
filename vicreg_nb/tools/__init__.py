# Generated from settings.ini by `make export`. Do not edit: edit the notebooks.
# text 82c264ba48f085b1

"""The tools of vicreg_nb."""
