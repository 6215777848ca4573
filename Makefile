# make        the environment in .venv, nothing outside it
# make run    everything on this machine, at http://127.0.0.1:8000/ (see PORT, DATA_DIR, ADMIN_PASSWORD in README)
# make test   units, then the real servers, then the browser
# make check  what a machine can see without running anything
#
# Paths are relative and every tool is a module of .venv, so the checkout may
# lie anywhere, in a directory with spaces too.

SHELL := /bin/sh
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-input --require-hashes
# Two processes, each with servers of its own: most tests wait more than they work.
PYTEST := $(PY) -m pytest -q --forbid-skips -n 2 --dist loadfile
# Checks must not touch the data of a running copy.
SCRATCH := DATA_DIR=.tmp/check

.DEFAULT_GOAL := setup
.PHONY: setup setup-dev run test unit integration e2e check bench verify chromium mariadb lock clean

setup: .venv/local.stamp
	@$(if $(filter run,$(MAKECMDGOALS)),:,echo "Ready: make run")

setup-dev: .venv/dev.stamp

.venv/bin/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Setting up .venv with $$("$$python" --version) …"; \
	    exec "$$python" -m venv .venv; \
	  fi; \
	done; echo "Surveyor needs Python 3.11 or newer; set PYTHON to one." >&2; exit 1

# The larger set holds the smaller one, so whoever has it need not install twice.
.venv/local.stamp: requirements-local.lock | .venv/bin/python
	@[ .venv/dev.stamp -nt requirements-local.lock ] || $(PIP) -r requirements-local.lock
	@touch $@

.venv/dev.stamp: requirements-dev.lock | .venv/bin/python
	@$(PIP) -r requirements-dev.lock
	@touch $@ .venv/local.stamp

run: setup
	@$(PY) manage.py up $(ARGS)

test: unit integration e2e

unit: setup-dev
	$(PYTEST) -m "not integration and not e2e" --ignore=tests/e2e

integration: setup-dev mariadb
	$(PYTEST) -m integration --ignore=tests/e2e

# A process of its own: Playwright's event loop and those of other tests do not mix.
e2e: setup-dev chromium
	$(PY) -m pytest -q --forbid-skips -m e2e tests/e2e

chromium:
	@for name in chromium chromium-browser google-chrome; do \
	  command -v "$$name" >/dev/null && exit 0; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else echo "The browser tests need Chromium; please install it." >&2; exit 1; fi

mariadb:
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin"; \
	command -v mariadbd >/dev/null && command -v mariadb-install-db >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends mariadb-server mariadb-client >/dev/null; \
	else echo "Tests of MariaDB as a source need mariadb-server; please install it." >&2; exit 1; fi

check: setup-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(SCRATCH) $(PY) manage.py check
	$(SCRATCH) $(PY) manage.py makemigrations --check --dry-run
	$(SCRATCH) $(PY) manage.py check_templates
	$(PY) -m pytest -q --forbid-skips tests/workers/test_replay.py

# The three corpora take a while, most of it their first building. Shorter, or with other products:
#   make bench ARGS="--tables 1000 --rounds 1"
#   make bench ARGS="--tables 1000 10000 --peers"
# Also: python -m bench.distance (20 ms away), python -m bench.scale (a whole run). All have --help.
bench: setup-dev
	$(PY) -m bench $(ARGS)

# Compare a snapshot with independent queries: make verify FILE=dump.sql ARGS="--dialect mariadb"
verify: setup-dev
	$(PY) -m bench.verify "$(FILE)" $(ARGS)

# After a change to requirements*.txt.
lock: setup-dev
	@below=; for set in requirements requirements-local requirements-dev; do \
	  .venv/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header \
	    $$below "$$set.txt" -o "$$set.lock" || exit 1; \
	  below="-c $$set.lock"; \
	done

clean:
	rm -rf .venv .tmp .mypy_cache .ruff_cache .import_linter_cache
