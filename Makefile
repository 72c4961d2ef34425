# Everything a person does here, one word each. ARGS="…" is passed on; PYTHON=… chooses the interpreter;
# CMAKE_ARGS="-DGGML_CUDA=on" builds the local models' runtime for NVIDIA.
BIN := .venv/bin
export CMAKE_ARGS

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test lint bench

help:            ## this list
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/  make \1~\2/p' $(MAKEFILE_LIST) | column -t -s '~' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\): .*## \(.*\)/  make \1   \2/p' $(MAKEFILE_LIST)

setup:           ## prepare .venv with all that running needs
	@PYTHON="$(PYTHON)" sh setup.sh requirements.txt

setup-dev:       ## prepare .venv with what tests and checks need besides
	@PYTHON="$(PYTHON)" sh setup.sh requirements-dev.txt

run: setup       ## set up what is missing, then serve on http://127.0.0.1:8000 (PORT, HOST)
	@exec $(BIN)/backchannel up $(ARGS)

test: setup-dev  ## set up what is missing, then run the tests on two processors (ARGS="-n 0 tests/cli": those, on one)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: setup-dev  ## style, types, import contracts, migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && export DATA_DIR="$$scratch" DATABASE_URL= POSTGRES_HOST= \
		&& $(BIN)/backchannel db upgrade --quiet >/dev/null && $(BIN)/backchannel db check

bench: setup-dev ## print the README's tables
	$(BIN)/python -m benchmarks $(ARGS)
