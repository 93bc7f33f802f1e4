# Each target is one command, the same on a fresh machine and in CI. Needs Python 3.11, gcc, make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := train,text,plot,demo,dev
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
DOCS_STAMP := $(VENV)/.installed-docs
NATIVE := $(wildcard native/*.h native/*.cpp native/*/*.h native/*/*.cpp) CMakeLists.txt

.PHONY: help demo test lint bench lab fuzz sanitize aarch64 quality docs package clean install
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt $(NATIVE)
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (building the native module) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

install: $(STAMP)  ## make .venv and install everything into it

demo: $(STAMP)  ## train spelling-to-sound on the CMU dictionary, write demo-out/
	@$(BIN)/unrolled demo --out demo-out --overwrite

test: $(STAMP)  ## the whole test suite
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4

$(BENCH_STAMP): $(STAMP)
	@echo "installing the peers of the benchmark into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS),bench]'
	@touch $@

bench: $(BENCH_STAMP)  ## time our layers and their peers, write bench-out/ (ARGS="--grid full")
	@$(BIN)/unrolled bench $(ARGS)

lab: $(STAMP)  ## textbook claims as experiments, quick settings, write lab-out/report.html
	@$(BIN)/unrolled lab run --quick --out lab-out $(ARGS)
	@$(BIN)/unrolled lab report --quick --out lab-out

SECONDS := 120
fuzz: $(STAMP)  ## damaged files for every reader, random layers for the engine (SECONDS=120, ARGS="onnx --seed 7")
	@$(BIN)/python tests/fuzz.py --seconds $$(($(SECONDS) * 3 / 4)) $(ARGS)
	@timeout -s INT $$(($(SECONDS) / 4 + 10)) $(BIN)/python -m pytest -q -x --hypothesis-profile=fuzz \
	  tests/agree/test_native_fuzz.py || test $$? -eq 124

sanitize: $(STAMP)  ## the native engine's tests under the address, undefined and thread sanitizers
	@native/sanitize/run.sh address $(BIN)/python $(ARGS)
	@native/sanitize/run.sh thread $(BIN)/python $(ARGS)

CROSS := aarch64-linux-gnu-g++
aarch64:  ## compile the engine for aarch64 and run its check under qemu
	@command -v $(CROSS) >/dev/null || { \
	  echo "make aarch64 needs $(CROSS) (Debian: apt install g++-aarch64-linux-gnu)"; exit 1; }
	@CXX=$(CROSS) native/check/build.sh build/aarch64
	@if command -v qemu-aarch64 >/dev/null; then \
	  qemu-aarch64 -L /usr/aarch64-linux-gnu build/aarch64/check; \
	else echo "compiled; without qemu-aarch64 (Debian: apt install qemu-user) the check cannot run"; fi

quality: $(STAMP)  ## train on public data sets: make quality DATA=folder [ROWS="trec g2p-fre"]
	@$(BIN)/python -m bench.quality --data $(DATA) $(ROWS)

$(DOCS_STAMP): $(STAMP)
	@echo "installing what builds the documentation into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS),docs]'
	@touch $@

docs: $(DOCS_STAMP)  ## build the documentation into docs/_build/html; warnings are errors
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

package: $(STAMP)  ## build the wheel into dist/, install it where nothing else is, load and run models
	@rm -rf dist && $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .
	@UNROLLED_WHEEL=$$(ls $(CURDIR)/dist/*.whl) $(BIN)/python -m pytest tests/test_install.py

lint: $(STAMP)  ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:  ## remove what the other targets made
	rm -rf $(VENV) build dist demo-out bench-out docs/_build .pytest_cache .mypy_cache .ruff_cache
