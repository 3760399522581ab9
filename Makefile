# Every verb of the house; CI calls the same ones. Nothing is installed outside .venv.
#   PYTHON=python3.12   another interpreter           ARGS="-k energy -x"   more words for pytest, demo or the benchmarks
#   UPGRADE=--upgrade   newer versions in `make lock`

PYTHON  ?= python3
ARGS    ?=
UPGRADE ?=

BIN     := .venv/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --quiet install
COMPILE := $(BIN)/uv pip compile --quiet
PROJECT := pyproject.toml --group build

.DEFAULT_GOAL := help
.PHONY: help run install test check bench bench-peers bench-day soak audit lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# The trap lets demo take Ctrl-C and close what it opened; 130 is its word for "interrupted", not an error.
run: .venv/run-installed ## start a simulated fleet and the service; Ctrl-C leaves
	@trap : INT; $(BIN)/heatfleet demo $(ARGS); status=$$?; [ $$status -eq 130 ] || exit $$status

install: .venv/dev-installed ## put the service and its tools into .venv

test: .venv/dev-installed .venv/bigquery-server/installed ## run every test but the soak
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "not soak" $(ARGS)

check: .venv/dev-installed ## lint, types, and the rules of the house
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src tests $(wildcard benchmarks)
	$(BIN)/python -m pytest tests/test_tidy.py tests/test_docs.py tests/test_bigquery_sql.py

bench: .venv/dev-installed ## measure what a message costs on this machine
	$(BIN)/python -m benchmarks $(ARGS)

bench-peers: .venv/dev-installed ## measure beside VictoriaMetrics, InfluxDB and nginx
	$(BIN)/python -m benchmarks peers $(ARGS)

bench-day: .venv/dev-installed ## a simulated day of the fleet, checked to the watt-hour
	$(BIN)/python -m benchmarks day $(ARGS)

soak: .venv/dev-installed .venv/bigquery-server/installed ## run for minutes under load and faults
	$(BIN)/python -m pytest -m soak $(ARGS)
	$(BIN)/python -m pytest --hypothesis-profile=thorough tests/unit tests/contract $(ARGS)

audit: .venv/dev-installed ## ask for known weaknesses of the libraries, and list them (SBOM)
	mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --output-file build/sbom.cdx.json
	$(BIN)/pip-audit --requirement requirements.lock --require-hashes --disable-pip --progress-spinner off

lock: .venv/dev-installed ## write the lock files anew from pyproject.toml
	$(COMPILE) $(PROJECT) $(UPGRADE) --output-file requirements.lock
	$(COMPILE) $(PROJECT) $(UPGRADE) --extra google --extra postgresql --constraints requirements.lock --output-file requirements-cloud.lock
	$(COMPILE) $(PROJECT) $(UPGRADE) --group dev --all-extras --constraints requirements-cloud.lock --output-file requirements-dev.lock
	$(COMPILE) tests/bigquery_server/requirements.in $(UPGRADE) --output-file tests/bigquery_server/requirements.lock

clean: ## remove .venv, caches and build output; data stays
	rm -rf .venv build dist .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .schemathesis
	find src tests $(wildcard benchmarks examples) -name __pycache__ -prune -exec rm -rf {} +

# A stamp is newer than what it was made from: nothing is installed twice, and nothing is fetched while it holds.
.venv/run-installed: requirements.lock pyproject.toml .venv/created
	@echo "Installing heatfleet into .venv (once, and again when the lock file changes) ..."
	@$(INSTALL) --require-hashes --requirement requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev-installed: requirements-dev.lock pyproject.toml .venv/created
	@echo "Installing heatfleet and its tools into .venv (once, and again when the lock file changes) ..."
	@$(INSTALL) --require-hashes --requirement requirements-dev.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@ .venv/run-installed

.venv/bigquery-server/installed: tests/bigquery_server/requirements.lock .venv/created
	@echo "Installing a BigQuery for tests into .venv/bigquery-server (once, and again when its lock file changes) ..."
	@$(BIN)/python -m venv .venv/bigquery-server
	@.venv/bigquery-server/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --requirement $<
	@touch $@

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "heatfleet needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)"; \
	  echo "Debian 12 and later: sudo apt-get install python3 python3-venv"; \
	  echo "If a newer one is there under another name: make run PYTHON=python3.12"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: its venv module is missing."; \
	  echo "Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; } >&2
	@$(PYTHON) -m venv .venv
	@touch $@
