# make up and make test need nothing but Python 3.11 to 3.14 on this machine.
.DEFAULT_GOAL := help
.PHONY: help up test simulate mutants test-crash test-real lint audit bench profile wheel cluster cluster-down lock clean

PYTHON ?= python3
BIN := .venv/bin
CONFIG ?= config
DIST ?= dist
UP_FLAGS ?= $(if $(wildcard $(CONFIG)/pipeline.yaml $(CONFIG)/pipeline),--config $(CONFIG),--demo)

# As requires-python in pyproject.toml says.
supported = $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { \
  echo "Greenlight needs Python 3.11 to 3.14 (orjson, which it needs, has no wheel for 3.15), and $(PYTHON) is" \
    "$$($(PYTHON) --version 2>&1); name another with: make PYTHON=python3.14 ..." >&2; exit 1; }

help: ## say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: .venv/runtime ## install, and run the pipeline; without a pipeline file of your own, the talk's story
	@$(BIN)/greenlight up $(UP_FLAGS)

test: .venv/test ## install, and pass the tests; ONLY='not cluster' as pytest's -m takes it
	$(BIN)/pytest -q $(if $(ONLY),-m '$(ONLY)')

simulate: .venv/test ## play N stories (10000) in which everything goes wrong, on all cores; goes on where it was stopped
	N=$(or $(N),10000) PYTHONPATH=tests:tests/simulation $(BIN)/python -m simulator

mutants: .venv/test ## put deliberate defects into copies of the code, and see which test catches each; SOME=5 SEED=1 takes five
	PYTHONPATH=tests:tests/simulation $(BIN)/python -m mutants $(SOME) $(SEED)

test-crash: .venv/test ## kill the broker 120 times under load, and cut its disk's power at 400 moments; some minutes
	CRASH_SEED=$${CRASH_SEED:-$$(date +%s)} CRASH_KILLS=120 CRASH_STATES=400 $(BIN)/pytest -q -s --show-capture=no \
	  tests/contract/broker/test_crash.py tests/unit/store/test_disk.py

test-real: .venv/test ## the story in containers on a real Kubernetes node; needs root, Go, Java; builds the node once (20 minutes)
	tests/real/run

lint: .venv/lint ## style, types, import contracts
	$(BIN)/ruff format --check services tests
	$(BIN)/ruff check services tests
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: .venv/lint .venv/tools/installed ## look for known vulnerabilities (3: no database can be asked) and refused licences
	.venv/tools/bin/python tests/audit.py

bench: .venv/test ## measure; prints ratios and absolute figures, fails on neither; SOME=4 SEED=1 takes four benchmarks
	$(BIN)/python -m tests.bench $(if $(SOME),--some $(SOME) --seed $(or $(SEED),1))

cluster: ## start a real Knative broker and DynamoDB, for the tests that need them; needs Go and Java; prints the file to source
	@tests/cluster/cluster up

cluster-down: ## end them
	@tests/cluster/cluster down

profile: .venv/test ## show what a commit costs greenlight up, in CPU by part and in counts
	@PYTHONPATH=tests $(BIN)/python tests/bench/profile_commit.py

wheel: .venv/runtime ## build the wheel into DIST (dist), with the build tools that the lock names
	@mkdir -p $(DIST)
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation --wheel-dir $(DIST) .
	@ls $(DIST)/greenlight_pipeline-*.whl

lock: .venv/tools/installed ## compile the lock files again from pyproject.toml
	tests/lock.sh

clean: ## remove what make installed (not the data in .greenlight)
	rm -rf .venv

# Each set of packages is installed once per change of its lock file, by hash, and the project itself without building tools
# that the lock does not name.
# .venv/browser adds what drives a browser to .venv/test, .venv/api what checks the API against its description. .venv/lowest is
# for trying the oldest versions that pyproject.toml admits, over .venv/test.
.venv/runtime .venv/test .venv/lint .venv/lowest .venv/browser .venv/api: .venv/%: requirements/%.txt pyproject.toml
	@$(supported)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q services # pip compiles what it copies; and where PYTHONDONTWRITEBYTECODE is set, every start would
	@touch $@

# Programs whose packages would be in the way of ours: uv, pipx, pip-audit, pip-licenses.
.venv/tools/installed: requirements/tools.txt
	@$(supported)
	@test -x .venv/tools/bin/python || $(PYTHON) -m venv .venv/tools
	.venv/tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
