# Every target is one visible line; those that need the environment make it themselves.
PYTHON ?= python3
PY := .venv/bin/python
export PYTHON
# Where the environment forbids bytecode, every process of the tests would compile torch, Prefect and MLflow anew.
export PYTHONDONTWRITEBYTECODE :=
# Tests run in as many processes as there are cores, so each keeps to one thread.
TESTS := OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses=4 --dist worksteal
.DEFAULT_GOAL := help
.PHONY: help setup demo fix check unit test e2e bench bench-speed up down advisories sbom wheel lowest changelog docs browser ci

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

unit: .venv/ready ## the fast tests, in under a minute on two cores: for every save
	$(TESTS) -q -m "not slow and not medium" tests/unit

test: .venv/ready ## all tests but the slow ones
	$(TESTS) -m "not slow" tests ilcore --doctest-modules

e2e: .venv/ready ## the stories, real servers, every fault, fifty crashes at random, a week of forty scans, 500 damaged files
	IL_CRASHES=50 IL_SOAK=1 IL_MUTANTS=500 $(TESTS) tests/integration tests/e2e tests/unit/test_foreign_device.py

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

sbom: .venv/ready ## what is installed here, with versions and licences, as CycloneDX: dist/ilcore.cdx.json
	mkdir -p dist && $(PY) -m uv tool run --from cyclonedx-bom cyclonedx-py environment .venv/bin/python \
	  --output-reproducible --output-format JSON --output-file dist/ilcore.cdx.json

wheel: .venv/ready ## dist/ilcore-VERSION-py3-none-any.whl
	$(PY) -m hatchling build -t wheel

lowest: .venv/ready ## the unit tests with the lowest versions that pyproject.toml allows, in an environment of their own
	bash deploy/lowest.sh

changelog: .venv/ready ## CHANGELOG.md takes the fragments of changes/ under the version of ilcore/__init__.py
	$(PY) -m towncrier build --version "$$($(PY) -c 'import ilcore; print(ilcore.__version__)')"

docs: .venv/ready ## cards of methods and tables of formats are written anew, and the examples of the documentation run
	.venv/bin/il methods --markdown docs/methods.md
	$(PY) -m tests.bench.formats
	$(PY) -m pytest ilcore tests/unit/test_docs.py --doctest-modules -q

browser: ## Debian's Chromium, where there is no browser yet and this is root: the tests look at pages in it
	@command -v chromium chromium-browser google-chrome >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
	  || echo "browser: none here, and it cannot be installed: needs root and apt-get"

ci: browser check ## exactly what CI runs: style, and all tests but the longest soaks of `make e2e`
	IL_CRASHES=6 $(TESTS) tests ilcore --doctest-modules
