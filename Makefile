PYTHON := .venv/bin/python
SOURCES := schema hooks runtimes templates server tests tools

.PHONY: setup run demo test test-fast bench check types format

setup:
	@tools/setup

run: setup
	@exec .venv/bin/clowdy serve --first-run

demo: setup
	@exec $(PYTHON) tools/demo.py

test: setup check
	@exec $(PYTHON) -m pytest

test-fast: setup
	@exec $(PYTHON) -m pytest -m "not slow"

bench: setup
	@exec $(PYTHON) -m tests.bench

check: types
	.venv/bin/ruff check $(SOURCES)
	.venv/bin/ruff format --check $(SOURCES)
	PYTHONPATH=.venv/links .venv/bin/lint-imports

types:
	.venv/bin/mypy

format:
	.venv/bin/ruff format $(SOURCES)
	.venv/bin/ruff check --fix $(SOURCES)
