# make demo   serve the demo site, with everything it needs set up first
# make test   every check: lint, types, layers, tests, a real browser
# make lint   the quick checks alone
# make fuzz   the rewriter's properties on ever new pages (FUZZ_MINUTES=20)
# make gallery every embedding technique in a real browser, in all states (SETUP="--csp enforce --refused hold")
# make soak   processes killed, power cut and disks failing, again and again (needs cc and strace);
#             endless pages (SOAK_MB=1024)
# make bench  the benchmarks (PAGES=folder for your own pages)

PYTHON       ?= python3
VENV         := .venv
BIN          := $(VENV)/bin
PAGES        ?=
FUZZ_MINUTES ?= 20
SETUP        ?=
SOAK_MB      ?= 1024

# What is imported again and again is compiled once: the tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint gallery soak fuzz bench clean

# The compiled parts are built by the installation: their sources make it stale, too.
$(VENV)/.demo: pyproject.toml consent/_build.py $(wildcard consent/native/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "asgi-consent needs Python 3.11 or later: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
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
	$(BIN)/python -m tests.caching.nginx --install
	$(BIN)/python -m tests.pgbouncer --install
# Five at once, whatever the cores: half of the time a test waits for a browser, a database or another process.
# In one order, which is no lottery either: `pytest` alone draws a new one every time.
	$(BIN)/python -m pytest --numprocesses 5 --dist loadfile --randomly-seed=1

gallery: $(VENV)/.dev
	$(BIN)/python -m tests.browser.chromium --install
	$(BIN)/python -m tests.gallery $(SETUP)

soak: $(VENV)/.dev
	CONSENT_KILL_ROUNDS=100 $(BIN)/python -m pytest -q -o timeout=0 tests/test_sqlite_store.py -k kill_9
	CONSENT_KILL_ROUNDS=20 $(BIN)/python -m pytest -q -o timeout=0 tests/test_postgresql_store.py -k kill_9
	CONSENT_SOAK=1 $(BIN)/python -m pytest -q -o timeout=0 tests/soak tests/test_interrupted_erasure.py
	CONSENT_SOAK_MB=$(SOAK_MB) $(BIN)/python -m pytest -q tests/html/test_endless.py

FUZZED := tests/html/test_properties.py tests/html/test_other_parsers.py tests/html/test_screening.py \
	tests/catalog/test_evidence.py tests/catalog/test_script_text.py
# Each round draws pages of its own; a page that fails is printed, and kept in .hypothesis for the next run.
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.browser.chromium --install
	@end=$$(( $$(date +%s) + $(FUZZ_MINUTES) * 60 )); \
	while [ $$(date +%s) -lt $$end ]; do \
		CONSENT_EXAMPLES=1000 $(BIN)/python -m pytest -q -x -o timeout=0 \
			$(FUZZED) || exit 1; \
		$(BIN)/python -m tests.gallery.batch --pages 400 || exit 1; \
	done

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/rewrite.py $(PAGES)
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/receipts.py
	$(BIN)/python benchmarks/choices.py
	$(BIN)/python -m tests.browser.chromium --install
	$(BIN)/python benchmarks/banner.py $(PAGES)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build
