#!/usr/bin/env bash
# Runs the unit tests with the lowest version of each dependency that pyproject.toml allows: is what it promises true?
# What those need themselves is as new as it may be. Words given to it go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/python -m uv --version >/dev/null 2>&1 || { echo "lowest wants uv, which make setup could not install" >&2; exit 1; }
wheels="$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)"
export UV_FIND_LINKS="${UV_FIND_LINKS:-$wheels}" UV_LINK_MODE="${UV_LINK_MODE:-copy}" OMP_NUM_THREADS=1
home=.venv/lowest
.venv/bin/python -m uv venv --quiet --clear --python .venv/bin/python "$home"
.venv/bin/python -m uv pip install --python "$home/bin/python" --quiet --resolution lowest-direct -e '.[dev]'
# Old packages warn of new ones that they use; elsewhere such a warning fails a test.
exec "$home/bin/python" -m pytest -q -W default -m "not slow and not medium" "${@:-tests/unit}"
