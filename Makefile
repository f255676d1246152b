PYTHON := .venv/bin/python
SOURCES := schema hooks runtimes templates server tests tools

.PHONY: setup setup-test setup-bench run demo test test-fast bench check types format

setup:
	@tools/setup

setup-test:
	@tools/setup test

setup-bench:
	@tools/setup test bench

run: setup
	@exec .venv/bin/clowdy serve --first-run

demo: setup
	@exec $(PYTHON) tools/demo.py

test: check
	@exec $(PYTHON) -m pytest -n 2 --dist loadfile

test-fast: setup-test
	@exec $(PYTHON) -m pytest -m "not slow" -n 2

bench: setup-bench
	@exec $(PYTHON) -m tests.bench

check: setup-test types
	.venv/bin/ruff check $(SOURCES)
	.venv/bin/ruff format --check $(SOURCES)
	PYTHONPATH=.venv/links .venv/bin/lint-imports

types: setup-test
	.venv/bin/mypy

format: setup-test
	.venv/bin/ruff format $(SOURCES)
	.venv/bin/ruff check --fix $(SOURCES)
