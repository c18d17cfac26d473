# Everything runs from .venv, set up on first use; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: up test faults mutations fuzz bench bench-sweep bench-check lint setup lock

up: setup
	@exec $(BIN)/lanka up

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -rs

# Breaks everything that can be broken and prints what became of the orders; `make test` breaks a sample.
faults: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/faults --whole --page docs/faults.md

# Takes each safeguard away, one at a time in a copy, and looks whether a test turns red (about ten minutes).
mutations: setup
	$(BIN)/python -m tests.faults.mutations

# Asks every route of a Lanka of its own for what its document allows and forbids, as four callers (under 10 minutes).
SECONDS ?= 120
fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# Lanka beside other ways to confirm an order, in one run (under 12 minutes): the page, its picture and the JSON.
bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks --page docs/performance.md

bench-sweep: $(VENV)/.bench
	$(BIN)/python -m benchmarks sweep

# Is the commit NEW slower than the commit OLD by more than the noise of this machine? Fails if it is (about ten minutes).
TURNS ?= 5
bench-check: setup
	$(BIN)/python -m benchmarks check $(OLD) $(NEW) --turns $(TURNS) $(if $(JSON),--into $(JSON))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/oxfmt --check web
	$(BIN)/oxlint --deny-warnings web

setup: $(VENV)/.done

$(VENV)/.done: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# What Lanka is measured beside; `make test` needs none of it.
$(VENV)/.bench: $(VENV)/.done benchmarks/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/requirements.lock
	@touch $@

$(VENV)/.fuzz: $(VENV)/.done tests/fuzz/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/fuzz/requirements.lock
	@touch $@

# For maintainers: resolve the newest versions again (needs uv).
lock:
	uv pip compile --universal --generate-hashes --group dev --no-header --no-annotate --python-version 3.11 --upgrade pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --group bench --no-header --no-annotate --python-version 3.11 --upgrade -c requirements.lock -o benchmarks/requirements.lock
	uv pip compile --universal --generate-hashes --group fuzz --no-header --no-annotate --python-version 3.11 --upgrade -c requirements.lock -o tests/fuzz/requirements.lock
