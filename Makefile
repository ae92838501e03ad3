# `make` lists the targets. Needs a Python 3.11+ and nothing else; uv is used when it is there.

.DEFAULT_GOAL := help
.PHONY: help run test check bench compare simulate chaos soak-orphans soak-restarts soak-custody soak-nats fuzz crash clean
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-peers
PEERS_READY := $(PEERS)/.ready
# Which Python the environment is made with; empty: the first on PATH that works.
PYTHON ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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
	$(BIN)/actorsys bench

bench-check: $(READY) ## how much work a message is, in calls and system calls: no more than in benchmarks/reference.json
	$(BIN)/python benchmarks/counts.py

QUICK ?=
JSON ?=
compare: $(PEERS_READY) ## actorsys beside its peers, in pairs of runs; QUICK=1: under 4 minutes; JSON=: a file for every run
	$(PEERS)/bin/python benchmarks/compare/compare.py $(if $(QUICK),--quick) $(if $(JSON),--json $(JSON))

SEEDS ?= 2000
simulate: $(READY) ## lives of supervisors in a fake operating system, SEEDS= of them
	$(BIN)/python -m tests.model.simulate --seeds $(SEEDS)

SECONDS ?= 60
AGENTS ?= 100
SEED ?=
chaos: $(READY) ## AGENTS= real agents die in every way for SECONDS=, and nothing may be lost
	$(BIN)/python scripts/chaos.py --seconds $(SECONDS) --agents $(AGENTS) $(if $(SEED),--seed $(SEED))

ROUNDS ?= 1000
soak-orphans: $(READY) ## ROUNDS= supervisors are killed, and nothing may survive them
	$(BIN)/python scripts/soak_orphans.py --rounds $(ROUNDS)

RESTARTS ?= 1000
soak-restarts: $(READY) ## one agent dies RESTARTS= times, and nothing may pile up
	$(BIN)/python scripts/soak_restarts.py --restarts $(RESTARTS)

MESSAGES ?= 10000
soak-custody: $(READY) ## 4 x MESSAGES= numbered messages to an agent that is killed every 50 ms
	SOAK_MESSAGES=$(MESSAGES) $(BIN)/python -m pytest -q -s tests/system/test_custody_crash_points.py -k under_a_kill
	$(BIN)/python -m tests.model.simulate_mail --seeds $(SEEDS)

FLEET ?= 300
soak-nats: $(READY) ## FLEET= agents with a NATS connection each: up, idle, and back after their server was killed
	timeout 300 $(BIN)/python scripts/soak_nats.py --agents $(FLEET)

fuzz: $(READY) ## damaged bytes for every edge, SECONDS= long
	$(BIN)/python scripts/fuzz.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

crash: $(READY) ## kill, tear and refuse every write of the state backends, and lose power: nothing acknowledged may be lost
	$(BIN)/python scripts/crash.py

clean: ## remove what was made here: environment, caches, builds
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment: pinned and hashed packages, then the project itself, editable and without asking any index.
$(READY): requirements/build.txt requirements/dev.txt pyproject.toml scripts/make_venv scripts/find_python
	scripts/make_venv $(VENV) dev $(PYTHON)
	touch $@

$(PEERS_READY): requirements/build.txt requirements/peers.txt pyproject.toml scripts/make_venv scripts/find_python
	scripts/make_venv $(PEERS) peers $(PYTHON)
	touch $@
