# make setup        the environment: .venv on the Kaggle image's versions, carlib in it
# make demo         the whole job on a drawn sample set, in carlib-demo/
# make test         lint, types and tests in .venv
# make local-kaggle a Kaggle on this machine to play with; it says how to point the client at it
# make test-newest  the tests on the newest releases, in .venv-newest

DEMO ?= carlib-demo
# Workers of pytest: a core each. A worker keeps to its files, whose fixtures are costly, until
# it takes some of another's.
JOBS ?= auto
SHARED = -n $(JOBS) --dist worksteal
PYTHON = $(shell .ci/find-python)
# The system's own, so that two versions of Python are tested where there are two.
NEWEST_PYTHON = $(shell .ci/find-python python3)
DECLARED = setup.cfg pyproject.toml kaggle-image-constraints.txt

# Small allocations go back to the system at every step otherwise, at a cost in system calls.
export MALLOC_TRIM_THRESHOLD_ = 1000000000
export MALLOC_MMAP_THRESHOLD_ = 1000000000

.PHONY: setup demo test lint types tests test-newest local-kaggle clean

setup: .venv/ready

.venv/ready: $(DECLARED)
	@test -n "$(PYTHON)"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet -c kaggle-image-constraints.txt -e '.[dev]'
	touch $@

.venv-newest/ready: setup.cfg pyproject.toml
	@test -n "$(NEWEST_PYTHON)"
	$(NEWEST_PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade pip
	.venv-newest/bin/python -m pip install --quiet --upgrade -e '.[dev]'
	touch $@

demo: setup
	.venv/bin/carlib demo --out $(DEMO)

test: lint types tests

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: setup
	.venv/bin/mypy

tests: setup
	.venv/bin/python -m pytest $(SHARED)

test-newest: .venv-newest/ready
	.venv-newest/bin/python -m pytest $(SHARED) -m "not once"

# OPTIONS: --dataset alice/photos=DIR, --session-limit 20m, --quota 2h, ...
local-kaggle: setup
	PYTHONPATH=tests .venv/bin/python -m local_kaggle $(OPTIONS)

clean:
	rm -rf .venv .venv-newest $(DEMO) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
