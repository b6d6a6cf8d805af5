# The two commands of the README, and what stands beside them. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary=:all: --constraint constraints.txt

.PHONY: help demo test install check bench chaos clean
help:
	@echo "make demo     map a rendered town with the model that ships, and check the map against its truth"
	@echo "make test     run the tests"
	@echo "make install  install geoseg and its development tools into .venv"
	@echo "make check    ruff, mypy and the tests of the walls"
	@echo "make bench    measure speed and memory against the bare model"
	@echo "make chaos    kill workers and drivers 50 times: the map must be the same, and no work lost"

demo: .venv/run
	$(BIN)/geoseg demo -o demo

test: .venv/dev
	$(BIN)/python -m pytest -m "not alone" --numprocesses auto --maxprocesses 4
	$(BIN)/python -m pytest -m alone

install: .venv/dev

check: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_walls.py --quiet

bench: .venv/dev
	$(BIN)/python -m benchmarks

chaos: .venv/dev
	$(BIN)/python -m benchmarks.chaos 50

clean:
	rm -rf .venv demo build dist *.egg-info

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

.venv/dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	touch .venv/run $@
