# Every target sets itself up: its own virtual environment, locked versions. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STACK ?= dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cachestack needs Python 3.11 or newer; $$($(PYTHON) --version) was found. Set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is missing. Debian, Ubuntu: apt-get install python3-venv"; exit 1; }

# Third-party packages by hash from the lock, then this project in place. pip, because it honours the machine's own
# settings (mirror, proxy, certificate). hatchling is in no lock: pip fetches it to build the editable install.
$(VENV)/.up: requirements/up.lock pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) with the development tools (once, two minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@ $(VENV)/.up

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

.PHONY: setup
setup: $(VENV)/.dev ## install the development tools into .venv

.PHONY: lock
lock: ## pin every dependency anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --all-extras --group dev --group bench --no-header --no-annotate --upgrade -q pyproject.toml -o requirements/dev.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --extra api --extra cli --group local -c requirements/dev.lock --no-header --no-annotate --upgrade -q pyproject.toml -o requirements/up.lock
