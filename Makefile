# fairfield: every target does its own set-up in .venv; nothing but Python 3.11-3.13 and make is needed.
#   make demo    simulated files -> store -> walk-forward, a session of trades -> demo/index.html
#   make test    all tests, lint, types, import contracts
#   make lint    lint, types, import contracts only
#   make bench   the benchmarks of benchmarks/README.md
#   make clean   remove the environment, caches and demo output

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter of a supported version; set PYTHON=... to choose another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
# One BLAS and one numba thread per process: the walk-forward runs its own processes.
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1
export NUMBA_NUM_THREADS ?= 1

.PHONY: demo test lint bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.runtime
	$(BIN)/fairfield demo demo

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run_all.py

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "fairfield needs Python 3.11, 3.12 or 3.13 on the PATH (or: make PYTHON=/path/to/python3)"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: python3-venv)"; rm -rf $(VENV); exit 1; }

$(VENV)/.runtime: $(VENV)/pyvenv.cfg requirements/runtime.lock pyproject.toml
	@echo "Installing the locked packages (a minute or two, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.lock
	@echo "Installing the locked development packages"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@
