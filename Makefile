# Needs python3 (3.11 or later) and make, nothing else: the first call creates .venv and installs into it.
#   make run ARGS="--profile smoke"    passes arguments on
#   make test PYTHON=python3           uses an environment of your own, and installs nothing

# .gitattributes names the filter that keeps the notebooks' outputs out of git; the first call, make export and
# make lab set it up.

VENV   := .venv
PYTHON := $(VENV)/bin/python
ARGS   :=
READY  := $(if $(filter $(VENV)/bin/python,$(PYTHON)),$(VENV)/.installed)
EXTRA   = $(if $(READY),$(VENV)/.installed-$(1))
WAITING = $(PYTHON) -c 'import os; from vicreg_nb.threads import *; print(*map("=".join, brief_waiting(os.environ).items()))'
FILTER := git config filter.notebook.clean 'python3 vicreg_nb/tools/export.py --clean' 2>/dev/null || true
EXPORT := $(if $(wildcard vicreg_nb/tools/export.py),-m vicreg_nb.tools.export,nbs/90_export.py)

.DEFAULT_GOAL := help
.PHONY: help run smoke test fuzz check export lab docs report explorer submission

help: ## print this
	@sed -n 's/^\([a-z]*\):.*## /make \1|/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name text; do printf '%-17s %s\n' "$$name" "$$text"; done

run: $(READY) ## run the book: every question, figure and number, and the report
	$(PYTHON) -m vicreg_nb.run_all $(ARGS)

smoke: $(READY) ## run the whole book on the embedded data, in a few minutes
	$(PYTHON) -m vicreg_nb.run_all --profile smoke $(ARGS)

test: check ## check, and run the tests, in two processes
	$(PYTHON) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: $(READY) ## try 3,224 spoiled files, settings, texts and environments, of which the tests try a share; kills: tests/fuzz/kills.py
	FUZZ=all $(PYTHON) -m pytest -q -n 2 tests/fuzz $(ARGS)

check: $(READY) ## are notebooks, their pairs and the package in step, does ruff agree, and do they read well?
	$(PYTHON) $(EXPORT) --check
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check nbs
	$(PYTHON) tests/reading.py

export: $(READY) ## carry edits between .py and .ipynb, and write the package from the notebooks
	@$(FILTER)
	$(PYTHON) $(EXPORT) $(ARGS)

lab: $(READY) $(call EXTRA,lab) ## open the notebooks in JupyterLab, in the project's environment
	@$(FILTER)
	env $$($(WAITING)) $(PYTHON) -m jupyterlab --notebook-dir=nbs $(ARGS)

docs: $(READY) $(call EXTRA,docs) ## make docs/: the library's pages, from the docstrings
	$(PYTHON) -m pdoc --docformat google --output-directory docs vicreg_nb '!vicreg_nb.tools'

report: $(READY) ## make report.pdf from the last run
	$(PYTHON) -m vicreg_nb.tools.report $(ARGS)

explorer: $(READY) ## make figures/explorer.html from the last run
	$(PYTHON) -m vicreg_nb.tools.explorer $(ARGS)

submission: $(READY) ## make the submission's zip from the last run
	$(PYTHON) -m vicreg_nb.tools.submission $(ARGS)

$(VENV)/.installed: pyproject.toml settings.ini
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@$(FILTER)
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@
