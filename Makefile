# Needs Python 3.11+, git and make; everything else goes into .venv.

PYTHON ?= python3
# Each worker clones its own database; more than four gain little.
WORKERS ?= auto
PYTEST_ARGS ?=
# How long a soak takes.
MINUTES ?= 10
# Which benchmark, how, and on which server; the embedded one, if none is named.
BENCH ?= operations
BENCH_ARGS ?=
DATABASE_URL ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# SQLAlchemy 2.0, in an environment of its own.
VENV_20 := .venv-sqlalchemy20
BIN_20 := $(VENV_20)/bin
INSTALLED_20 := $(VENV_20)/.installed

# The oldest versions that we allow, in another one.
VENV_OLD := .venv-oldest
BIN_OLD := $(VENV_OLD)/bin
INSTALLED_OLD := $(VENV_OLD)/.installed

# Packages that stand beside ours in an application, in a third.
VENV_NEIGHBOURS := .venv-neighbours
BIN_NEIGHBOURS := $(VENV_NEIGHBOURS)/bin
INSTALLED_NEIGHBOURS := $(VENV_NEIGHBOURS)/.installed

# The whole suite runs on the default driver, library and server; on each of the others, these.
ON_LIBRARIES := tests/unit tests/adopters/test_drivers.py tests/migration \
	tests/integration/test_acceptance.py tests/integration/writing \
	tests/integration/transactions/test_session_state.py \
	tests/integration/transactions/test_sessions.py
ON_SERVERS := tests/adopters/test_drivers.py tests/adopters/test_pgbouncer.py tests/migration \
	tests/integration/test_acceptance.py tests/integration/test_schema_rules.py
# As a request's role, whatever needs the owner neither for its question nor to set the stage.
AS_APP := tests/integration $(addprefix --ignore=tests/integration/,model transactions test_cells.py \
	test_cli.py test_doctor.py test_grants.py test_hostile_commands.py test_page_plans.py \
	test_schema_rules.py test_search.py)
# Under row-level security the same, but for what it rightly refuses, what has databases of its own, and
# arguments that never reach a row.
ISOLATED := $(AS_APP) $(addprefix --ignore=tests/integration/,audit isolation test_bad_input.py \
	test_hostile_input.py) -m "not sees_all"
ON_DOCKER := tests/adopters/test_drivers.py tests/integration/test_acceptance.py
# On a cluster, which takes neither the log nor row-level security; other tests say why they do not run.
ON_CITUS := tests/integration tests/concurrency $(addprefix --ignore=tests/integration/,audit isolation)

# The documentation, in one more.
VENV_DOCS := .venv-docs
INSTALLED_DOCS := $(VENV_DOCS)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test races app isolated drivers sqlalchemy20 oldest neighbours postgres15 replica cells docker browser docs soak bench lint types format clean

help: ## Show this list.
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(INSTALLED) ## Walk through the package's main job on a real PostgreSQL.
	$(BIN)/python examples/demo.py

test: lint types ## Lint, check types and run all tests.
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

races: $(INSTALLED) ## Race every two operations in every way, which takes some minutes.
	TENANCY_RACES=all $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal \
		tests/concurrency $(PYTEST_ARGS)

app: $(INSTALLED) ## Run the integration tests with no more privileges than a request has.
	TENANCY_TEST_ROLE=app $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 $(AS_APP) \
		$(PYTEST_ARGS)

isolated: $(INSTALLED) ## The same under row-level security.
	TENANCY_TEST_ROLE=app TENANCY_TEST_ISOLATION=1 $(BIN)/python -m pytest -n $(WORKERS) \
		--maxprocesses 4 $(ISOLATED) $(PYTEST_ARGS)

drivers: $(INSTALLED) ## Run the tests of every driver.
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 tests/adopters/test_drivers.py $(PYTEST_ARGS)

sqlalchemy20: $(INSTALLED_20) ## Check types and run what is representative on SQLAlchemy 2.0.
	$(BIN_20)/python -m mypy
	$(BIN_20)/python -m pytest -n $(WORKERS) --maxprocesses 4 $(ON_LIBRARIES) $(PYTEST_ARGS)

oldest: $(INSTALLED_OLD) ## The same tests on the oldest versions that we allow; needs Python 3.11.
	$(BIN_OLD)/python -m pytest -n $(WORKERS) --maxprocesses 4 $(ON_LIBRARIES) $(PYTEST_ARGS)

neighbours: $(INSTALLED_NEIGHBOURS) ## Test the pages on the packages that stand beside ours.
	$(BIN_NEIGHBOURS)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile \
		tests/neighbours $(PYTEST_ARGS)

postgres15: $(INSTALLED) ## The same on Debian's PostgreSQL 15 and PgBouncer; installs them, as root.
	scripts/on-postgres15.sh \
		$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 $(ON_SERVERS) $(PYTEST_ARGS)

replica: $(INSTALLED) ## Test what goes to a streaming replica; installs Debian's PostgreSQL 15, as root.
	scripts/on-replica.sh $(BIN)/python -m pytest tests/adopters/test_replicas.py $(PYTEST_ARGS)

cells: $(INSTALLED) ## Run the tests on a cluster of Citus, whose coordinator TENANCY_TEST_CITUS_URL names.
	test -n "$(TENANCY_TEST_CITUS_URL)"
	$(BIN)/python -m pytest -n 2 $(ON_CITUS) $(PYTEST_ARGS)

docker: $(INSTALLED) ## The same in a container on a Docker engine; installs Debian's, as root.
	scripts/on-docker.sh \
		$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 $(ON_DOCKER) $(PYTEST_ARGS)

browser: $(INSTALLED) ## Click through the example's team page; installs Debian's Chromium, as root.
	scripts/with-browser.sh $(BIN)/python -m pytest tests/browser $(PYTEST_ARGS)

docs: $(INSTALLED_DOCS) ## Build the documentation; a broken link or a missing docstring fails.
	rm -rf build/docs
	$(VENV_DOCS)/bin/python -m sphinx -W --keep-going -n -q -b html docs build/docs

soak: $(INSTALLED) ## For MINUTES=10: random operations, 200 kills, a failover; measures history.
	SOAK_MINUTES=$(MINUTES) SOAK_KILLS=200 $(BIN)/python -m pytest -s tests/integration/model \
		tests/integration/audit/test_size.py tests/docs/test_webhooks.py $(PYTEST_ARGS)
	@if [ "$$(id -u)" != 0 ]; then echo "NOT TESTED: a failover needs root, and Debian's packages"; \
	else SOAK_MINUTES=$(MINUTES) scripts/on-replica.sh \
		$(BIN)/python -m pytest tests/integration/model/test_failover.py -s $(PYTEST_ARGS); fi

bench: $(INSTALLED) ## Measure ourselves beside the peer; BENCH= names a benchmark, DATABASE_URL= a server.
	$(if $(DATABASE_URL),TENANCY_TEST_DATABASE_URL='$(DATABASE_URL)') \
		$(BIN)/python -m benchmarks $(BENCH) $(BENCH_ARGS)

lint: $(INSTALLED) ## Check style.
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: $(INSTALLED) ## Check types.
	$(BIN)/python -m mypy

format: $(INSTALLED) ## Format the code and fix what can be fixed.
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean: ## Remove the environment and everything generated.
	rm -rf $(VENV) $(VENV_20) $(VENV_OLD) $(VENV_NEIGHBOURS) $(VENV_DOCS) build dist \
		.mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an interrupted installation starts again.
$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --editable '.[dev]'
	@touch $@

$(INSTALLED_20): pyproject.toml
	$(PYTHON) -m venv $(VENV_20)
	$(BIN_20)/python -m pip install --quiet --disable-pip-version-check --upgrade \
		--editable '.[dev]' 'sqlalchemy<2.1'
	@touch $@

$(INSTALLED_OLD): pyproject.toml
	$(PYTHON) -m venv $(VENV_OLD)
	$(PYTHON) scripts/oldest.py > $(VENV_OLD)/constraints.txt
	$(BIN_OLD)/python -m pip install --quiet --disable-pip-version-check --upgrade \
		--editable '.[dev]' --constraint $(VENV_OLD)/constraints.txt
	@touch $@

$(INSTALLED_DOCS): pyproject.toml
	$(PYTHON) -m venv $(VENV_DOCS)
	$(VENV_DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade \
		--editable '.[docs]'
NEIGHBOURS := tests/neighbours/requirements.txt
$(INSTALLED_NEIGHBOURS): pyproject.toml $(NEIGHBOURS)
	$(PYTHON) -m venv $(VENV_NEIGHBOURS)
	$(BIN_NEIGHBOURS)/python -m pip install --quiet --disable-pip-version-check --upgrade \
		--editable '.[asyncpg,fastapi,flask,testing]' --requirement $(NEIGHBOURS)
	@touch $@
