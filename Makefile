# make demo   serve the demo site, with everything it needs set up first
# make test   every check: lint, types, layers, tests, a real browser
# make lint   the quick checks alone
# make bench  the benchmarks (PAGES=folder for your own pages)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PAGES  ?=

.PHONY: demo test lint bench clean

$(VENV)/.demo: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "asgi-consent needs Python 3.11 or later: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[check,demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/python -m demo_site

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m tests.browser.chromium --install
	$(BIN)/python -m pytest

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/rewrite.py $(PAGES)
	$(BIN)/python benchmarks/receipts.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build
