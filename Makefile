# `make` alone shows what there is. From a fresh clone nothing but Python >= 3.11 and make is needed.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
INSTALLED := .venv/.installed
SYNCED := .venv/.synced
# Compiled at once: where Python may not write what it compiles, each start would do it again.
SYNC := --frozen --inexact --quiet --compile-bytecode --python $(BIN)/python

.PHONY: help setup run test lint types contracts system bench prove clean

help: ## show this
	@echo "Ohmstead: make run starts a living charging network; the targets are"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r target text; do printf '%-16s %s\n' "$$target" "$$text"; done

setup: $(SYNCED) ## make .venv with the locked dependencies (nothing to do while the lock is the same)

$(INSTALLED): uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Ohmstead needs Python 3.11 or newer; name one with: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || { \
		echo "Making .venv"; \
		$(PYTHON) -m venv --clear .venv >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip .venv; }
	@$(BIN)/uv --version 2>/dev/null | grep -qF 'uv $(UV_VERSION)' || { \
		if $(BIN)/python -m pip --version >/dev/null 2>&1; then pip="$(BIN)/python -m pip"; \
		elif $(PYTHON) -m pip --version >/dev/null 2>&1; then pip="$(PYTHON) -m pip --python $(BIN)/python"; \
		else echo "Python has no pip here. Run 'make system' (or install python3-venv), then again." >&2; exit 1; fi; \
		echo "Getting uv $(UV_VERSION)"; \
		$$pip install --quiet --disable-pip-version-check 'uv==$(UV_VERSION)'; }
	@echo "Installing the locked dependencies"
	@UV_PROJECT_ENVIRONMENT=.venv $(BIN)/uv sync $(SYNC) --no-dev
	@touch $@

$(SYNCED): $(INSTALLED)
	@echo "Installing what the tests need"
	@UV_PROJECT_ENVIRONMENT=.venv $(BIN)/uv sync $(SYNC)
	@touch $@

run: $(INSTALLED) ## start database, server and simulated chargers; Ctrl-C stops them, the data stays
	@exec $(BIN)/ohmstead demo

# Four workers for two processors: most tests wait for sockets, clocks and processes.
test: lint types contracts ## lint, types, import contracts and every test
	$(BIN)/pytest -n 4 --dist worksteal -m "not prove"

lint: setup ## check style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup ## check types
	$(BIN)/mypy

contracts: setup ## check that imports run downwards only
	$(BIN)/lint-imports

bench: setup ## measure the server beside a bare one; ARGS="--full" and the like are handed on
	$(BIN)/python -m bench $(ARGS)

prove: setup ## the long forms of the fault and property tests
	$(BIN)/pytest -m prove

system: ## install the system packages that some tests use (Debian or Ubuntu, as root or with sudo)
	@missing=""; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -z "$$missing" ]; then echo "Every system package is there."; exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
		echo "This is no Debian or Ubuntu. Please install yourself:$$missing" >&2; exit 1; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=env; \
	elif command -v sudo >/dev/null; then as_root="sudo env"; \
	else echo "Only root can install$$missing; run 'make system' as root." >&2; exit 1; fi; \
	$$as_root DEBIAN_FRONTEND=noninteractive apt-get update -qq && \
	$$as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing

clean: ## remove what was made, but not the data in .ohmstead
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
