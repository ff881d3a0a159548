#!/usr/bin/env bash
# Makes .venv with exactly the versions of constraints.txt: with uv in half a minute, else with pip.
# A folder of wheels named in pip's own configuration (find-links) is honoured by both; nothing else is assumed.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || {
  echo "setup wants Python >= 3.11.4; got $("$python" --version 2>&1); name another one: make setup PYTHON=python3.12" >&2
  exit 1
}

[ -x .venv/bin/python ] || "$python" -m venv .venv
wheels="$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)"

with_uv() {
  .venv/bin/python -m pip install --quiet --disable-pip-version-check uv &&
    UV_FIND_LINKS="${UV_FIND_LINKS:-$wheels}" UV_LINK_MODE="${UV_LINK_MODE:-copy}" \
      .venv/bin/python -m uv pip install --python .venv/bin/python --quiet -c constraints.txt -e '.[dev]'
}

with_pip() {
  echo "setup: uv could not do it, trying pip (minutes instead of seconds)" >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
}

with_uv || with_pip
touch .venv/ready
echo "setup: .venv is ready ($(.venv/bin/python --version))"
