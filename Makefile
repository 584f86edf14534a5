# Everything a newcomer needs: `make demo` and `make test` set themselves up.
# A bare Debian 12 or 13 is enough. Outside of this folder only root's setup-tests installs anything: TEST_PROGRAMS.

# The interpreter of .venv; without it, that of the .venv that is there, otherwise python3.
export PYTHON ?=
BIN := .venv/bin
# What the tests need of Debian, as program or library and package; libatomic is of the browser driver.
TEST_PROGRAMS := mariadbd:mariadb-server chromium:chromium faketime:faketime libatomic.so.1:libatomic1 \
	systemd-analyze:systemd

.PHONY: help setup setup-tests setup-checks setup-docs setup-bench demo check test test-documentdb unpack-documentdb \
	coverage lint format docs docs-reference bench bench-docs bench-scale storm storm-tests fresh audit sbom hashes clean

help: ## these lines
	@sed -nE 's/^([a-z-]+):[^#]* ## (.*)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 23

demo: setup ## the whole story on embedded parts, in under a minute
	@$(BIN)/incident-process demo

setup: ## the command, in .venv/bin/incident-process
	@scripts/ensure-programs
	@scripts/make-venv
	@$(if $(filter setup,$(MAKECMDGOALS)),echo "Done. Next: . .venv/bin/activate")

setup-tests: ## what the tests need; as root it installs Debian packages, otherwise it names them
	@scripts/ensure-programs $(TEST_PROGRAMS)
	@scripts/make-venv requirements-docs.txt requirements-dev.txt
	@scripts/check-browser
	@scripts/unpack-debian mysql MySQL mysql-server-core

setup-checks:
	@scripts/ensure-programs
	@scripts/make-venv requirements-docs.txt requirements-dev.txt

setup-docs:
	@scripts/ensure-programs
	@scripts/make-venv requirements-docs.txt

test: setup-tests ## all tests, against a real MariaDB, MySQL and Mongo-wire server of their own
	@scripts/run-tests

check: lint ## make lint and the unit tests, in under a minute
	@scripts/run-tests tests/unit

test-documentdb: setup-tests unpack-documentdb ## the tests of the MongoDB state on DocumentDB, a second server of its protocol; as root
	@TEST_MONGO_SERVER=documentdb scripts/run-tests -k "mongo or Mongo" tests/integration tests/e2e tests/dashboard

unpack-documentdb:
	@scripts/unpack-debian documentdb DocumentDB postgresql-18-documentdb base-files dash

coverage: setup-tests ## the same as make test, with the branch coverage of every command that the tests start; takes longer
	@TEST_COVERAGE=whole scripts/run-tests

lint: setup-checks ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup-checks ## what ruff can put right by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup-docs ## the documentation site, in build/site; without a network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open build/site/index.html, or serve it: python3 -m http.server --directory build/site"

docs-reference: setup-docs ## renews what docs/ has from the code: settings, commands, errors, metrics, Python names
	@PYTHONPATH=scripts:src $(BIN)/python -m docs_reference

bench: setup-bench ## incidents a second beside the limits of the machine: ACCOUNTS=100000 SCALE=1 ONLY=limits,ours
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

bench-docs: setup-bench ## the same, and writes the figures into the documentation
	@$(BIN)/python -m bench --write-docs

bench-scale: setup-bench ## how throughput grows with the workers of a cluster; writes the figures into docs/scale.md
	@$(BIN)/python -m bench.scale --write-docs

setup-bench:
	@scripts/ensure-programs $(TEST_PROGRAMS) nginx:nginx-light wrk:wrk
	@$(MAKE) --no-print-directory setup-tests
	@scripts/make-venv requirements-bench.txt

SECONDS ?= 60
SEED ?= 1
STATE ?= all

storm: setup-tests $(if $(filter documentdb,$(STATE)),unpack-documentdb) ## the promise under kills, cuts and faults: SECONDS=600 SEED=1 STATE=sqlite|mariadb|mysql|mongo|documentdb|all SOURCE=mariadb|mysql CLUSTER=1
	@$(BIN)/python -m tests.storm --seconds $(SECONDS) --seed $(SEED) --state $(STATE) $(if $(SOURCE),--source $(SOURCE)) \
		$(if $(CLUSTER),--cluster)

storm-tests: setup-tests ## of all tests those of the storm: 60 s for each state but MySQL's
	@scripts/run-tests tests/storm

audit: setup-checks ## known vulnerabilities of the pinned versions, from a service that can be reached: IGNORE=PYSEC-...
	@$(BIN)/python scripts/audit.py -- $(foreach id,$(IGNORE),--ignore-vuln $(id))

sbom: setup-checks ## a software bill of materials (CycloneDX), build/sbom.cdx.json
	@$(BIN)/python scripts/sbom.py build/sbom.cdx.json

hashes: setup-checks ## the hashes of all that an installation holds, in hashes/; after a change of constraints.txt
	@$(BIN)/python scripts/hashes.py

fresh: setup ## make demo and make test on a Debian that has nothing else, as root: SUITE=bookworm|trixie
	@scripts/ensure-programs debootstrap:debootstrap
	@SUITE=$(SUITE) TESTS="$(TESTS)" KEEP=$(KEEP) $(BIN)/python scripts/fresh.py

clean: ## remove .venv, the servers and all that was built
	@[ ! -e .venv ] || mv .venv .venv-old # what is removed in part is not taken for whole
	rm -rf .venv-old .servers build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
