# The two commands of a newcomer: make generate PROMPT="...", make test. Both set themselves up.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# What the command line says, and only that: the environment has variables of these names for other purposes.
PROMPT :=
SECONDS := 10
SEED := 0
OUT := out.wav
WORKERS := 2
QUICK :=
PORT := 8000

.PHONY: help setup bench-setup generate serve test lint docs check-default default-model
help:
	@echo 'make generate PROMPT="a calm violin melody" [SECONDS=10] [SEED=0] [OUT=out.wav]'
	@echo 'make serve           a page on which music is made, [PORT=8000]'
	@echo 'make test            the tests, by [WORKERS=2] processes'
	@echo 'make lint            style, types, and which layer knows which'
	@echo 'make docs            these pages and the API as a site, site/index.html'
	@echo 'make check-default   does the shipped model do what a listener asks of it? [QUICK=1: a tenth]'
	@echo 'make bench-setup     the peers that python -m benchmarks.decode and benchmarks.train compare with'
	@echo 'make default-model   train the shipped model again, from nothing'

setup: $(READY)

$(READY): pyproject.toml $(wildcard musiclm/stages/step/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
		|| { echo "expected Python 3.11 or 3.12, got $$($(PYTHON) --version): make PYTHON=/path/to/python3.11 ..."; exit 2; }
	@echo "Setting up $(VENV): once, a few minutes, about 8 GB ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 -e '.[corpus,eval,dev,docs]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps tinysoundfont==0.3.7
	@touch $(READY)

bench-setup: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 -e '.[bench]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps audiolm-pytorch==2.4.0

# The words travel through the environment, unexpanded: a prompt with quotes or dollars stays what it is.
unexport PROMPT SECONDS SEED OUT
generate: export MUSICLM_PROMPT := $(value PROMPT)
generate: export MUSICLM_SECONDS := $(value SECONDS)
generate: export MUSICLM_SEED := $(value SEED)
generate: export MUSICLM_OUT := $(value OUT)
generate: $(READY)
	@$(if $(filter-out generate,$(MAKECMDGOALS)),echo 'expected the prompt in quotes: make generate PROMPT="a calm violin"' >&2; exit 2)
	@$(BIN)/musiclm generate --seconds "$$MUSICLM_SECONDS" --seed "$$MUSICLM_SEED" --out "$$MUSICLM_OUT" -- "$$MUSICLM_PROMPT"

serve: $(READY)
	@$(BIN)/musiclm serve --port $(PORT)

# A worker takes a file at a time, whose tests share what is costly; slow files first (tests/conftest.py).
# What takes longer than it should is named at the end: CI has a limit.
test: $(READY)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 \
		--durations 20 --durations-min 20

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# The variable keeps Material for MkDocs from advertising its successor. Not --quiet: what is not said is no error.
docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo site/index.html

# Both are run, whatever the first one says. Of the listener's bars, QUICK=1 takes a tenth of the clips.
check-default: $(READY)
	@$(BIN)/musiclm evaluate adherence; first=$$?; \
		$(BIN)/musiclm evaluate bars --quick $(if $(QUICK),true,false) && exit $$first

default-model: $(READY)
	@BIN=$(BIN) sh scripts/default_model.sh
