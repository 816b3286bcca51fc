# farm's commands. `make` alone lists them.

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
STAMP := .venv/.installed
CODE := farm tests example-app

.DEFAULT_GOAL := help
.PHONY: help install run test check formatted linted typed layered bench bars bench-check profile load fmt clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv with farm and everything its tests need

run: install  ## run the example: farm up with 8 workers in example-app
	@cd example-app && exec ../$(BIN)/farm up --workers 8

test: install  ## run everything that must pass (ARGS="-k name" for some of it)
	@$(BIN)/python -m pytest $(ARGS)

check: formatted linted typed layered  ## format, lint, types and layers (the sizes are a test); -k goes on after a failure

formatted: install
	@$(BIN)/ruff format --check $(CODE)

linted: install
	@$(BIN)/ruff check $(CODE)

typed: install build/stubs/.made
	@$(BIN)/basedpyright

layered: install
	@$(BIN)/lint-imports

bench: install  ## measure how fast farm is here (ARGS="codec path" for some of it, ARGS=--quick)
	@$(BIN)/python -m tests.bench.run $(ARGS)

bars: install  ## show at full size that every promise of reliability holds (ARGS="once burst fair revoke")
	@$(BIN)/python -m tests.bench.bars $(ARGS)

bench-check: install  ## exit 1 when something got slower, beside what it is compared with
	@$(BIN)/python -m tests.bench.check $(ARGS)

load: install  ## drive a farm hard over HTTP, the relay and WebSockets, and check that nothing is lost
	@$(BIN)/python -m tests.bench.load $(ARGS)

profile: install  ## show where ingest and a worker spend their time (pictures in build/profile)
	@$(BIN)/python -m tests.bench.profile_farm $(ARGS)

fmt: install  ## format the code, mend what ruff can mend
	@$(BIN)/ruff check --fix-only $(CODE)
	@$(BIN)/ruff format $(CODE)

clean:  ## remove all that these commands made
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache example-app/.farm
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv that no longer runs (another Python, a moved folder) is made anew; one that runs is only brought up to date.
$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: no $(PYTHON): farm needs Python 3.11 or newer. Install it, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $$($(PYTHON) --version 2>&1) is too old: farm needs 3.11 or newer. Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) cannot make environments: its venv module is missing. Install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "installing farm into .venv (under a minute the first time)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# What componentize-py will generate for the SDK's world, for the type checker alone.
build/stubs/.made: $(wildcard wit/farm-messaging-*/*.wit) | $(STAMP)
	@rm -rf build/stubs
	@$(BIN)/componentize-py -q -d wit/farm-messaging-0.1.0 -w component \
	  --import-interface-name farm:messaging/types@0.1.0=farm_types bindings build/stubs
	@touch $@
