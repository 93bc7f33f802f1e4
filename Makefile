# Each target is one command, the same on a fresh machine and in CI. Needs Python 3.11, gcc, make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := train,text,plot,demo,dev
STAMP := $(VENV)/.installed
NATIVE := $(wildcard native/*.h native/*.cpp native/*/*.h native/*/*.cpp) CMakeLists.txt

.PHONY: help demo test lint bench quality docs clean install
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt $(NATIVE)
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (building the native module) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

install: $(STAMP)  ## make .venv and install everything into it

demo: $(STAMP)  ## train spelling-to-sound on the CMU dictionary, write demo-out/
	@$(BIN)/unrolled demo --out demo-out --overwrite

test: $(STAMP)  ## the whole test suite
	@$(BIN)/python -m pytest

lint: $(STAMP)  ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:  ## remove what the other targets made
	rm -rf $(VENV) build dist demo-out bench-out docs/_build .pytest_cache .mypy_cache .ruff_cache
