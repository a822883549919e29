# `make demo` and `make test` need Python 3.11 or newer and nothing else.
#
#   make demo        the whole of handsim on synthetic hands
#   make test        the gate: lint, then every test
#   make test-fast   what to run before a commit: the tests that are not marked slow, under two minutes
#   make docs        the site of docs/, into site/; a wrong link fails
#   make lint        ruff and mypy --strict
#   make format      ruff's formatting and its safe fixes

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-fast docs lint format clean

demo: .venv/ready
	$(BIN)/handsim demo

# A tenth of the time of training tests was the kernel's, clearing memory that had been given back just before.
KEEP_MEMORY := MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_TOP_PAD_=67108864
# One more than the two cores that the gate is made for: some tests wait for a page, a child process or a clock.
PYTEST := $(KEEP_MEMORY) $(BIN)/pytest -n 3 --dist worksteal

test: lint
	$(PYTEST)

test-fast: .venv/ready
	$(PYTEST) -m "not slow"

docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv handsim-demo site

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "handsim needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	touch $@
