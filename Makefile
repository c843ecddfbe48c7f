# Tasks of this project; `make` lists them. Everything runs from .venv, which is made on first use.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST_ARGS ?=
REMBG_VENV ?= .venv-rembg

# Stubs are made by this old generator on purpose: older generated code runs on newer libraries, never
# the other way round (docs/decisions/0003-checked-in-stubs.md). It has wheels for Python 3.11 to 3.13.
GENERATOR       := grpcio-tools==1.72.1 mypy-protobuf==5.1.0 "setuptools<81"
GENERATOR_VENV  := .venv-protos
PROTOS          := $(wildcard protos/mattestream/v1/*.proto protos/mattestream/kserve/v2/*.proto)
PROTO_PATHS     := $(PROTOS:protos/%=%)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo picture serve test test-fast bench overload soak gpu-libraries sanitize gpu-proof gpu-check check format protos protos-check breaking wheel clean

help: ## This list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Start the server, stream real photos to it, write cut-outs to demo-output/.
	$(BIN)/python -m mattestream demo --out demo-output

# Head and shoulders of NASA's portrait of Eileen Collins (public domain), as scikit-image ships it.
picture: $(VENV)/.demo ## Make the README's picture anew, with the models as they are.
	mkdir -p demo-output && \
	$(BIN)/python -c 'from PIL import Image; from skimage.data import astronaut as a; \
	  Image.fromarray(a()[:300, 95:345]).save("demo-output/portrait.png")' && \
	$(BIN)/mattestream remove demo-output/portrait.png --refine best --force -o demo-output/picture.png && \
	$(BIN)/python -m mattestream.cli.before_after demo-output/portrait.png demo-output/picture.png \
	  docs/images/portrait.jpg

serve: $(VENV)/.demo ## Start the server on 127.0.0.1:50051.
	$(BIN)/python -m mattestream serve

test: $(VENV)/.dev ## Run all tests.
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-fast: $(VENV)/.dev ## Run the tests that take under a few seconds each.
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

bench: $(VENV)/.dev $(REMBG_VENV)/.made ## Measure the server beside rembg's, in ten to twelve minutes; loadtest/results/.
	$(BIN)/python -m loadtest.bench --rembg-venv $(REMBG_VENV)

overload: $(VENV)/.dev ## Load a server with ten times what it can do, for a minute; loadtest/results/.
	$(BIN)/python -m loadtest.overload

soak: $(VENV)/.dev ## Send 10,000 mixed requests and watch the memory; loadtest/results/.
	$(BIN)/python -m loadtest.soak

gpu-libraries: $(VENV)/.gpu-proof ## Add the GPU libraries that need no GPU (1 GB), and compile every kernel with them.
	$(BIN)/python -m kernels.nvrtc

sanitize: $(VENV)/.dev ## Run the kernels on the CPU under the address and undefined-behaviour sanitizers.
	$(BIN)/python -m pytest tests/kernels/cuda/test_sanitizers.py

gpu-proof: gpu-libraries ## Run the tests of the GPU path that need no GPU, with those libraries.
	CI=true $(BIN)/python -m pytest tests/kernels/cuda tests/models/tensorrt tests/models/device tests/server/device $(PYTEST_ARGS)

# On a machine with a GPU: needs CuPy, NumPy, pytest and what else it finds; installs nothing, no network.
gpu-check: ## On a GPU: run every kernel and the whole path there, print a table, write loadtest/results/gpu-<date>.json.
	$(PYTHON) -m loadtest.gpu_check

check: $(VENV)/.dev protos-check breaking ## Lint, types, import contracts, protos and stubs.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos

format: $(VENV)/.dev ## Format the code and apply safe fixes.
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

protos: $(GENERATOR_VENV)/.made ## Make the stubs in mattestream/v1 and mattestream/kserve/v2 from protos/.
	$(call generate,.)

protos-check: $(GENERATOR_VENV)/.made ## Fail when the stubs are not what protos/ gives.
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call generate,"$$fresh") && \
	diff -r -x '__init__.py' -x '__pycache__' "$$fresh/mattestream/v1" mattestream/v1 && \
	diff -r -x '__init__.py' -x '__pycache__' "$$fresh/mattestream/kserve" mattestream/kserve \
	  || { echo "the stubs are stale: run make protos and commit the result" >&2; exit 1; }

# Against the main branch, as this checkout or its origin knows it.
breaking: $(VENV)/.dev ## Fail when protos/ breaks callers of the main branch's contract.
	@for ref in origin/main main; do \
	  if git cat-file -e "$$ref:protos/buf.yaml" 2>/dev/null; then \
	    old=$$(mktemp -d) && trap 'rm -rf "$$old"' EXIT && \
	    git archive "$$ref" protos | tar -x -C "$$old" && \
	    echo "buf breaking protos --against $$ref" && \
	    $(BIN)/buf breaking protos --against "$$old/protos"; exit; \
	  fi; \
	done; echo "buf breaking: skipped, no main branch with protos/ here to compare with"

wheel: $(VENV)/.dev ## Build the wheel and the sdist into dist/.
	$(BIN)/python -m build --no-isolation

clean: ## Remove what the tasks made, the environments included.
	rm -rf $(VENV) $(GENERATOR_VENV) build dist demo-output
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

generate = $(GENERATOR_VENV)/bin/python -m grpc_tools.protoc -I protos \
	--plugin=protoc-gen-mypy=$(GENERATOR_VENV)/bin/protoc-gen-mypy \
	--plugin=protoc-gen-mypy_grpc=$(GENERATOR_VENV)/bin/protoc-gen-mypy_grpc \
	--python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(PROTO_PATHS)

$(REMBG_VENV)/.made: | $(VENV)/bin/python
	$(PYTHON) -m venv $(REMBG_VENV)
	$(REMBG_VENV)/bin/python -m pip install --quiet --disable-pip-version-check "rembg[cpu,cli]" onnx
	@touch $@

# A stamp per set of extras: set up again when pyproject.toml changes, not on every run.
$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[server,demo]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[server,demo,dev]"
	@touch $@ $(VENV)/.demo

$(VENV)/.gpu-proof: pyproject.toml | $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[gpu-proof]"
	@touch $@

$(VENV)/bin/python:
	@$(call need_python,3.11)
	$(PYTHON) -m venv $(VENV)

$(GENERATOR_VENV)/.made: Makefile
	@$(call need_python,3.11)
	$(PYTHON) -m venv $(GENERATOR_VENV)
	$(GENERATOR_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(GENERATOR)
	@touch $@

need_python = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "mattestream needs Python $(1) or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1): \
	name another one, as in make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
