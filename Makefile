# demo: the main job on the bundled clips · loco-demo: the whole study on tiny corpora made for it
# test: the whole suite · check: format, lint, types, tests · bench: speed and memory
# soak: long and many videos, and whether memory, files or threads grow with their number
# fuzz: damaged inputs by the thousand, for MINUTES=10 after the properties, which take about as long
# evaluate-bundled DATA=folder: the figures of MODEL_CARD.md, from FER+ faces that are not part of the project
# evaluate-real DATA=folder: the figures of MODEL_CARD.md on real people, from PEDFE, which is not part of the project
PYTHON ?= python3
MINUTES ?= 10
VENV := .venv
BIN := $(VENV)/bin

LOCO := runs/loco-demo
LOCO_CORPORA := $(foreach name,RAVDESS CREMA-D SAVEE RAMAS IEMOCAP Aff-Wild2,--corpus $(name)=$(LOCO)/corpora/$(name))
RUN := $(BIN)/python -m emo_affectnet
STUDY := --backbone weights/bundled/backbone.pt
# A worker for each core, each with one thread: torch and TensorFlow would ask for all cores at once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

.PHONY: demo loco-demo test check bench soak fuzz evaluate-bundled evaluate-real clean

demo: $(VENV)/.run
	$(BIN)/python run.py --path_video video/ --path_save report/
	@echo "One CSV per video in report/, and report/summary.csv with one row each."

loco-demo: $(VENV)/.dev
	rm -rf $(LOCO)
	$(BIN)/python scripts/make_demo_corpora.py $(LOCO)/corpora
	$(RUN) corpora scan CREMA-D $(LOCO)/corpora/CREMA-D
	$(RUN) train heads $(LOCO_CORPORA) --cache $(LOCO)/features --save $(LOCO)/heads --seeds 1 --steps 100
	$(RUN) evaluate loco $(LOCO_CORPORA) --cache $(LOCO)/features --heads $(LOCO)/heads --save $(LOCO)/results
	@echo "These corpora are animations of one portrait: the figures show the road, and mean nothing else."

test: $(VENV)/.dev
	$(PYTEST)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-fail-under=95

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/annotation.py

soak: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m soak

fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --hypothesis-profile=fuzz tests/test_fuzz_*.py
	$(BIN)/python tests/fuzz_videos.py --minutes $(MINUTES)

evaluate-bundled: $(VENV)/.dev
	@test -d "$(DATA)" || { echo "Give the folder of the FER+ faces: make evaluate-bundled DATA=folder"; exit 2; }
	$(RUN) evaluate faces $(DATA) --split test
	$(RUN) evaluate loco --simulate-from $(DATA) --save runs/evaluation/loco
	$(RUN) evaluate clips benchmarks/demo_clips.csv --save runs/evaluation/clips
	$(RUN) evaluate faces $(DATA) $(STUDY) --split valid
	$(RUN) evaluate faces $(DATA) $(STUDY) --split test --save runs/evaluation/ferplus.png
	$(RUN) evaluate faces $(DATA) $(STUDY) --split test --policy dedup=unseen
	$(RUN) evaluate faces $(DATA) $(STUDY) --corpus FER2013 --split test
	$(RUN) evaluate loco --simulate-from $(DATA) $(STUDY) --heads weights/bundled --save runs/evaluation/study

evaluate-real: $(VENV)/.dev
	@test -d "$(DATA)" || { echo "Give the folder of PEDFE: make evaluate-real DATA=folder"; exit 2; }
	$(RUN) evaluate real $(DATA) --save runs/evaluation/real

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
