# `make help` lists the targets. Each one sets up what it needs, says what it does, and is quick the second time.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
# Arguments for pip when it installs torch, e.g. the index of PyTorch's CPU builds (a plain install on Linux brings CUDA).
TORCH_PIP_ARGS ?=
PYTEST_ARGS ?=
CHAOS_ARGS ?=
FUZZ_ARGS ?=

bin := $(VENV)/bin
stamps := $(VENV)/stamps
pip := $(bin)/python -m pip --disable-pip-version-check
packages := api worker jobs fqt_core service migrations benchmarks documentation client/fqt_client client/fqt_command.py

.PHONY: help
help: ## List the targets
	@echo "fqt: 1-bit fully quantised fine-tuning as a service"; echo
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

# --- what people run -------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(stamps)/project ## Pre-train and fine-tune a network at one bit through the real service, watch it, keep the model
	@$(bin)/fqt demo

.PHONY: up
up: $(stamps)/project ## Start the service on this machine (SQLite, embedded broker, API, one worker); Ctrl-C stops it
	@$(bin)/fqt up

.PHONY: setup
setup: $(stamps)/project ## Set up the virtual environment, with the native extension, and nothing else
	@echo "Ready. Try: $(bin)/fqt --help"

.PHONY: bench
bench: $(stamps)/bench ## Measure training, inference and the kernels (about ten minutes); write tables and chart
	@$(bin)/python -m benchmarks

.PHONY: docs
docs: $(stamps)/docs ## Build the documentation site into build/docs; warnings and dead links are errors
	@$(bin)/python -m documentation

# --- what developers run ---------------------------------------------------------------------------------------------

.PHONY: test
test: $(stamps)/dev $(stamps)/bench $(stamps)/docs $(stamps)/system ## Run all tests (real PostgreSQL, Valkey, browser and processes; no skips) but those of `make kernels`
	@$(bin)/python -m pytest -n 3 -m "not elsewhere" $(PYTEST_ARGS)

.PHONY: kernels
kernels: $(stamps)/dev $(stamps)/bench $(stamps)/docs $(stamps)/system ## Run the kernels' tests under the sanitizers, and in emulators of older CPUs, AMX, 64-bit ARM and GPUs
	@$(bin)/python -m pytest -n 3 -m elsewhere $(PYTEST_ARGS)

.PHONY: chaos
chaos: $(stamps)/dev ## 500 jobs under 200 faults on each database, as root; CHAOS_ARGS="--seed 7 --minutes 10 --json"
	@$(bin)/python -m tests.system.chaos $(CHAOS_ARGS)

.PHONY: fuzz
fuzz: $(stamps)/dev ## 20,000 requests that schemathesis makes up, all its checks on; FUZZ_ARGS="--seed 7 --requests 50000"
	@$(bin)/python -m tests.fuzz $(FUZZ_ARGS)

.PHONY: cuda
cuda: $(stamps)/dev ## Compile the CUDA kernels for all GPUs (needs nvcc and minutes, no GPU), warnings as errors, and look at their machine code
	@$(bin)/cmake -S . -B build/cuda -G Ninja -D FQT_CUDA=1 -D FQT_WERROR=ON -D Python_EXECUTABLE="$(abspath $(bin)/python)" \
		-D CMAKE_MAKE_PROGRAM="$(abspath $(bin)/ninja)" >/dev/null && $(bin)/cmake --build build/cuda | tail -n 1
	@$(bin)/python -m pytest -n 0 tests/csrc/cuda/machine_code.py $(PYTEST_ARGS)

.PHONY: check
check: $(stamps)/dev $(stamps)/docs ## Format, lint, types, import rules, C++ warnings, compose file, Dockerfile, documentation
	@echo "ruff"; $(bin)/ruff format --check --quiet .; $(bin)/ruff check --quiet .
	@echo "mypy --strict"; $(bin)/mypy $(packages)
	@echo "import rules"; $(bin)/lint-imports --no-cache | tail -n 4
	@echo "native sources, warnings as errors"
	@$(bin)/cmake -S . -B build/check -G Ninja -D FQT_WERROR=ON -D Python_EXECUTABLE="$(abspath $(bin)/python)" \
		-D CMAKE_MAKE_PROGRAM="$(abspath $(bin)/ninja)" >/dev/null && $(bin)/cmake --build build/check --clean-first | tail -n 1
	@echo "compose file"; $(bin)/docker-compose --file docker-compose.yml config --quiet
	@echo "Dockerfile"; $(bin)/hadolint Dockerfile
	@echo "documentation, warnings as errors"; $(bin)/python -m documentation
	@echo "All checks passed."

.PHONY: format
format: $(stamps)/dev ## Format the sources and mend what the linter can mend
	@$(bin)/ruff check --fix .; $(bin)/ruff format .

.PHONY: openapi
openapi: $(stamps)/project ## Write the OpenAPI document anew
	@$(bin)/python -m api.openapi

.PHONY: lock
lock: $(stamps)/dev ## Resolve the dependencies anew and write requirements/*.txt
	@$(pip) install --quiet uv && UV=$(bin)/uv requirements/lock.sh

.PHONY: clean
clean: ## Remove the virtual environment and all that was built
	@rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis

# --- set-up, a stamp each --------------------------------------------------------------------------------------------

$(stamps)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@echo "Creating the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(stamps) && touch $@

$(stamps)/torch: requirements/torch.txt requirements/service.txt $(stamps)/venv
	@echo "Installing the locked dependencies"
	@$(pip) install --quiet --require-hashes -r requirements/service.txt
	@echo "Installing PyTorch (gigabytes, unless TORCH_PIP_ARGS names a CPU build: see README.md)"
	@$(pip) install --quiet $(TORCH_PIP_ARGS) -r requirements/torch.txt
	@touch $@

$(stamps)/project: pyproject.toml client/pyproject.toml CMakeLists.txt $(shell find csrc -type f) $(stamps)/torch
	@echo "Building the native extension and installing the project"
	@PATH="$(abspath $(bin)):$$PATH" $(pip) install --quiet --no-deps --no-build-isolation -e client -e .
	@touch $@

$(stamps)/dev: requirements/dev.txt $(stamps)/project
	@echo "Installing what tests and checks use"
	@$(pip) install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

$(stamps)/bench: requirements/bench.txt $(stamps)/project
	@echo "Installing what the benchmarks draw and compare with"
	@$(pip) install --quiet --require-hashes -r requirements/bench.txt
	@touch $@

$(stamps)/docs: requirements/docs.txt $(stamps)/project
	@echo "Installing what builds the documentation"
	@$(pip) install --quiet --require-hashes -r requirements/docs.txt
	@touch $@

$(stamps)/system: tests/install_system.sh $(stamps)/venv
	@tests/install_system.sh
	@touch $@
