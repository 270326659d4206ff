# demo: the main job on the bundled clips · test: the whole suite · check: format, lint, types, tests · bench: figures
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check bench clean

demo: $(VENV)/.run
	$(BIN)/python run.py --path_video video/ --path_save report/
	@echo "One CSV per video in report/, and report/summary.csv with one row each."

test: $(VENV)/.dev
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered --cov-fail-under=95

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/speed.py

clean:
	rm -rf $(VENV) report build *.egg-info

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || \
		{ echo "Python 3.10, 3.11 or 3.12 is needed; name one with: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch comes first and by itself: with it in place, nothing else asks for another build of it.
$(VENV)/.torch: requirements.lock | $(BIN)/python
	$(BIN)/pip install --quiet "$$(grep '^torch==' requirements.lock)" -c requirements.lock
	@touch $@

$(VENV)/.run: pyproject.toml requirements.lock $(VENV)/.torch
	$(BIN)/pip install --quiet -c requirements.lock -e .
	@touch $@

$(VENV)/.dev: pyproject.toml requirements.lock $(VENV)/.torch
	$(BIN)/pip install --quiet -c requirements.lock -e ".[dev]"
	@touch $@ $(VENV)/.run
