# Every task of a developer, one word each; `make help` lists them. All set-up is done by the first one that is run.

.DEFAULT_GOAL := help
.PHONY: help demo test check bench train lock format clean

# The oldest first: it is the one the tests run on. PYTHON=... overrules.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$python" && break; done)

BIN := .venv/bin
READY := .venv/.ready
CLIENTS := .venv/clients/.ready
BENCH := .venv/bench
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## run the whole system here, with simulated rides, uploads and card payments; Ctrl-C stops it
	@$(BIN)/millrace demo

test: $(READY) $(CLIENTS) ## all tests, on a real broker and a real Redis
	@$(BIN)/millrace doctor --fetch
	@$(BIN)/pytest

check: $(READY) ## format, lint, types, import contracts, and the lock against pyproject.toml
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(PIP) check

format: $(READY) ## bring the code into its one format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY) $(BENCH)/.ready ## measure latency and throughput on this machine
	@$(BIN)/millrace bench

train: $(READY) ## train every model from the data MILLRACE_DATASETS names
	@$(BIN)/millrace train

lock: $(READY) ## pin the newest versions pyproject.toml allows, with hashes for every platform
	@$(PIP) install uv
	@$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --all-extras --group dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --output-file requirements.lock
	@$(BIN)/uv pip compile tests/clients.in --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --output-file tests/clients.lock

$(CLIENTS): tests/clients.lock | $(READY)
	@test -x .venv/clients/bin/python || $(BIN)/python -m venv .venv/clients
	@echo "installing other people's clients, for the tests (once; a minute or two)"
	@.venv/clients/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r tests/clients.lock \
		&& touch $@ || echo "they cannot be had here: their test is skipped" >&2

clean: ## remove what tools have left here, and the environment; .millrace, with its data, stays
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or say where it is: make PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the dependencies (once; a minute or two)"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@echo "preparing the embedded broker (once; half a minute)"
	@$(BIN)/millrace doctor --fetch >/dev/null || true # what is wrong is told by those who need it
	@touch $@

# What the benchmark compares with, in an environment that sees ours and has its own versions where they differ.
$(BENCH)/.ready: $(READY)
	@echo "installing what the benchmark compares with (once; half a minute)"
	@$(BIN)/python -m venv --without-pip $(BENCH)
	@$(BIN)/python -c 'import site; print("import site; site.addsitedir(%r)" % site.getsitepackages()[0])' \
		> "$$($(BENCH)/bin/python -c 'import site; print(site.getsitepackages()[0])')/beside.pth"
	@$(PIP) --python $(BENCH)/bin/python install --group bench
	@touch $@
