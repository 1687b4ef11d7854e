# make run · make test · make check · make bench; each makes .venv first if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-postgres check lint stress soak bench lock dev .venv

run: .venv
	$(BIN)/recollect serve

# Two at a time: most of the time is spent by one core, starting servers.
test: dev
	$(BIN)/pytest -m "not stress and not soak" --numprocesses 2 --dist worksteal

# The same tests, on a PostgreSQL that they start and stop.
test-postgres: dev
	RECOLLECT_TEST_DATABASE=postgres $(BIN)/pytest -m "not stress and not soak" --numprocesses 2 --dist worksteal

check: lint test

lint: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

stress: dev
	$(BIN)/pytest -m "stress and not alone" --numprocesses 2 --dist worksteal
	$(BIN)/pytest -m "stress and alone"

soak: dev
	$(BIN)/pytest -m soak

bench: $(VENV)/.installed-bench
	for name in encode clip import search voice http idle tags evaluate fusion relevance learning exclusion isolation; do $(BIN)/python -m benchmarks.bench_$$name || exit 1; done
	$(BIN)/python -m benchmarks.report

# The environment: what requirements.txt pins, and this project itself, editable.
.venv: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Recollect needs Python 3.11 or newer; name one: make PYTHON=python3.12 run"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	touch $@

$(VENV)/.installed-bench: requirements-bench.txt $(VENV)/.installed-dev
	$(BIN)/pip install --quiet --requirement requirements-bench.txt
	touch $@

# Pins for every Python from 3.11 on, on Linux and macOS; run after changing dependencies in pyproject.toml.
lock: dev
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate \
		--custom-compile-command "make lock" pyproject.toml --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate \
		--custom-compile-command "make lock" --extra dev --extra jxl --extra raw --extra redis --extra s3 --extra otel --extra postgres --constraint requirements.txt \
		pyproject.toml --output-file requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate \
		--custom-compile-command "make lock" --extra dev --extra jxl --extra raw --extra redis --extra s3 --extra otel --extra postgres --extra bench --constraint requirements-dev.txt \
		pyproject.toml --output-file requirements-bench.txt
