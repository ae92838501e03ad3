# `make` lists the targets. Needs a Python 3.11+ and nothing else; uv is used when it is there.

.DEFAULT_GOAL := help
.PHONY: help run test check bench clean
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Which Python the environment is made with; empty: the first on PATH that works.
PYTHON ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(READY) ## three example agents under supervision; Ctrl-C stops them
	$(BIN)/actorsys supervise examples/three_agents/agents.toml

test: $(READY) ## every test
	$(BIN)/python -m pytest

check: $(READY) ## format, lint, types, architecture and the fast tests: before each commit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -m "not slow" --ignore=tests/system

bench: $(READY) ## the numbers of this machine, beside their floors
	$(BIN)/python benchmarks/run.py

clean: ## remove what was made here: environment, caches, builds
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment: pinned and hashed packages, then the project itself, editable and without asking any index.
$(READY): requirements/build.txt requirements/dev.txt pyproject.toml scripts/make_venv scripts/find_python
	scripts/make_venv $(VENV) $(PYTHON)
	touch $@
