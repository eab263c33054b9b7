SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
READY := .venv/.ready
KERNEL_TESTS := packages/candle-vllm-core/tests/kernels
PROJECTS := pyproject.toml $(wildcard packages/*/pyproject.toml)
NATIVE_TESTS := $(addprefix packages/candle-vllm-core/tests/,native quant attention model/test_bits.py model/test_native_layer.py model/test_native_ops.py)
NATIVE := packages/candle-vllm-core/hatch_build.py $(wildcard packages/candle-vllm-core/src/candle_vllm_core/native/*.[ch])

# Two processes with one thread each: torch alone would start a thread per core in every test process.
TEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

.PHONY: help setup run chat test clients kernels check format docs bench constraints clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  Arguments go in ARGS: make run ARGS="--p 8000", make test ARGS="-k stream"'

setup: $(READY)  ## make .venv and install everything in it

$(READY): constraints.txt $(PROJECTS) $(NATIVE) scripts/setup
	@PYTHON="$(PYTHON)" scripts/setup
	@echo "$(CURDIR)" > $@

# The installed packages point to this folder: when it has been moved, they are installed anew.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

run: $(READY)  ## start the server on http://127.0.0.1:2000
	@$(BIN)/candle-vllm-server $(ARGS)

chat: $(READY)  ## talk with the model in this terminal
	@$(BIN)/python -m candle_vllm_server.chat $(ARGS)

test: $(READY)  ## run all tests but those of the GPU kernels, and those of C functions for AVX2, too
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --ignore=$(KERNEL_TESTS) $(ARGS)
	$(if $(ARGS),,ATEN_CPU_CAPABILITY=avx2 $(TEST_ENV) $(BIN)/python -m pytest -n 2 $(NATIVE_TESTS))

clients: $(READY)  ## install the agents of others, and test the server with them
	$(BIN)/python -m pip --disable-pip-version-check install -q --no-build-isolation -c constraints.txt -e '.[clients]'
	$(TEST_ENV) $(BIN)/python -m pytest packages/candle-vllm-server/tests/test_agents.py $(ARGS)

kernels: $(READY)  ## install triton, interpret the GPU kernels and compile them ahead of time
	$(BIN)/python -m pip --disable-pip-version-check install -q --no-build-isolation -c constraints.txt -e 'packages/candle-vllm-core[triton]'
	time $(TEST_ENV) $(BIN)/python -m pytest -n 2 --durations=5 $(KERNEL_TESTS) $(ARGS)

check: $(READY)  ## formatting, lint, strict types
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

format: $(READY)  ## format the sources and mend what lint can mend
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

docs: $(READY)  ## write the tables of the documents anew from the code
	@PYTHONPATH=packages/candle-vllm-core/tests/support $(BIN)/python scripts/tables.py

bench: $(READY)  ## measure speed on this machine and print a table
	@$(BIN)/python -m bench $(ARGS)

constraints: $(READY)  ## write constraints.txt anew from .venv
	@scripts/pin > constraints.new
	@mv constraints.new constraints.txt

clean:  ## remove .venv and all caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
