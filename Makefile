# dynamo-box. `make run` brings everything it needs and starts the box; options go through ARGS:
#   make run ARGS="--port 9000"     make unit ARGS="-k router"     make run ENGINE=cpu     make run PYTHON=python3.12

PYTHON ?= python3
ENGINE ?= auto
BIN := .venv/bin

# Importing vLLM takes 18 s without bytecode and 8 s with it.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help env run test check unit integration format lock clean clean-cache

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: ## Make .venv, or bring it up to date
	@$(PYTHON) packaging/bootstrap.py --engine $(ENGINE)

run: env ## Start the box with the demo model (ARGS: options of `dynamo-box up`)
	@exec $(BIN)/dynamo-box up $(ARGS)

test: check unit integration ## Everything: checks, unit tests, integration tests with real vLLM workers

check: env ## ruff, mypy, import contracts, spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	$(BIN)/typos

unit: env ## Unit tests (ARGS: options of pytest; HYPOTHESIS_PROFILE=thorough: more examples)
	$(BIN)/python -m pytest tests/unit -q -n auto --maxprocesses 4 --dist worksteal $(ARGS)

integration: env ## Tests with real vLLM workers (ARGS: options of pytest)
	$(BIN)/python -m pytest tests/integration -q -m engine --durations=5 $(ARGS)

format: env ## Format, and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: env ## Resolve the newest versions into packaging/locks
	$(BIN)/python packaging/lock.py

clean: ## Remove .venv and the tools' caches from this clone
	rm -rf .venv .venv.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-cache: ## Remove the environments that all clones share
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/dynamo-box/envs"
