# Every target is one visible line; those that need the environment make it themselves.
PYTHON ?= python3
PY := .venv/bin/python
export PYTHON
# Tests run in as many processes as there are cores, so each keeps to one thread.
TESTS := OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses=4 --dist worksteal
.DEFAULT_GOAL := help
.PHONY: help setup demo fix check test e2e bench bench-speed up down advisories docs browser ci

help:            ## this list
	@grep -hE '^[a-z0-9]+: .*##' Makefile | sed -E 's/:.*## /: /'

.venv/ready: pyproject.toml constraints.txt
	bash deploy/setup.sh

setup: .venv/ready ## the environment in .venv, with the locked versions

demo: .venv/ready ## restore a real noisy microscopy volume; prints where result, report and MLflow run are
	.venv/bin/il demo

fix: .venv/ready ## format, and repair what can be repaired
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .

check: .venv/ready ## style, types and who may import whom, in under a minute
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports

test: .venv/ready ## all tests but the slow ones
	$(TESTS) -m "not slow" tests ilcore --doctest-modules

e2e: .venv/ready ## the stories, real servers, every fault, fifty crashes at random, a week of forty scans, 500 damaged files
	IL_CRASHES=50 IL_SOAK=1 IL_MUTANTS=500 $(TESTS) tests/integration tests/e2e

bench: .venv/ready ## measurements, with timing
	$(PY) -m pytest tests/bench -s

bench-speed: .venv/ready ## what every method costs beside scikit-image: writes docs/benchmarks-speed.md; goes on where it stopped
	$(PY) -m tests.bench.speed

up: .venv/ready ## Prefect, MLflow, Dask and a worker on this machine, supervised; their status page says where
	.venv/bin/il up

down: .venv/ready ## stop what `make up` started
	.venv/bin/il down

advisories: .venv/ready ## known vulnerabilities of what we depend on; asks PyPI's advisory service
	$(PY) -m uv pip install --python $(PY) --quiet pip-audit && $(PY) -m pip_audit -r constraints.txt --no-deps --disable-pip

docs: .venv/ready ## cards of methods and tables of formats are written anew, and the examples of the documentation run
	.venv/bin/il methods --markdown docs/methods.md
	$(PY) -m tests.bench.formats
	$(PY) -m pytest ilcore tests/unit/test_docs.py --doctest-modules -q

browser: ## Debian's Chromium, where there is no browser yet and this is root: the tests look at pages in it
	@command -v chromium chromium-browser google-chrome >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
	  || echo "browser: none here, and it cannot be installed: needs root and apt-get"

ci: browser check ## exactly what CI runs: style, and all tests but the longest soaks of `make e2e`
	IL_CRASHES=12 $(TESTS) tests ilcore --doctest-modules
