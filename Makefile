# Everything a newcomer needs: `make demo` and `make test` set themselves up.
# Debian 12 with Python 3.11 is enough; nothing is installed outside .venv but the database server for the tests.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup setup-tests demo test lint format bench storm storm-tests clean

help:
	@echo "make demo         the whole story on embedded parts, in under a minute"
	@echo "make setup        the command, in .venv/bin/incident-process"
	@echo "make test         all tests, against a real MariaDB and a Mongo-wire server of their own"
	@echo "make lint         ruff, mypy --strict, import-linter"
	@echo "make bench        incidents a second beside the limits of the machine"
	@echo "make storm-tests  a storm of 60 s for each state, as tests"
	@echo "make storm        the promise under kills, cuts and faults: SECONDS=600 SEED=1 STATE=sqlite|mariadb|mongo|all"

setup: .venv/.ready

setup-tests: .venv/.ready-tests
	@scripts/ensure-mariadb

.venv/.ready: pyproject.toml constraints.txt scripts/make-venv
	@scripts/make-venv "$(PYTHON)"
	@touch $@

.venv/.ready-tests: .venv/.ready requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-dev.txt
	@touch $@

demo: setup
	@$(BIN)/incident-process demo

test: setup-tests
	@scripts/run-tests

lint: .venv/.ready-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.ready-tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup-tests
	@$(BIN)/python -m bench

SECONDS ?= 60
SEED ?= 1
STATE ?= all

storm: setup-tests
	@$(BIN)/python -m tests.storm --seconds $(SECONDS) --seed $(SEED) --state $(STATE)

storm-tests: setup-tests
	@STORM=1 scripts/run-tests tests/storm

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
