#!/usr/bin/env bash
# Starts a Prefect server and a worker on this machine, makes the work pool and deploys; `make down` stops them.
set -euo pipefail
cd "$(dirname "$0")/.."
bin="$PWD/.venv/bin" run="$PWD/.run" port="${IL_PREFECT_PORT:-4200}"
mkdir -p "$run"
export DO_NOT_TRACK=true PREFECT_SERVER_ANALYTICS_ENABLED=false MLFLOW_DISABLE_TELEMETRY=true
export PREFECT_API_URL="http://127.0.0.1:$port/api" IL_HOME="$PWD"
export IL_SOURCE="${IL_SOURCE:-}" IL_TARGET="${IL_TARGET:-}" IL_ARCHIVE="${IL_ARCHIVE:-}"

start() { # name, command...
  local name="$1"; shift
  if [ -f "$run/$name.pid" ] && kill -0 "$(cat "$run/$name.pid")" 2>/dev/null; then
    echo "$name is running already"; return
  fi
  nohup "$@" >"$run/$name.log" 2>&1 &
  echo $! >"$run/$name.pid"
}

start prefect-server "$bin/prefect" server start --host 127.0.0.1 --port "$port"
for _ in $(seq 120); do
  "$bin/python" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/api/health')" 2>/dev/null && break
  sleep 1
done
"$bin/prefect" work-pool create il --type process --overwrite >/dev/null
# One scan, a whole archive, or both: whatever there is something to do for.
[ -z "$IL_SOURCE" ] || "$bin/prefect" deploy --name nightly --prefect-file deploy/prefect.yaml
[ -z "$IL_ARCHIVE" ] || "$bin/prefect" deploy --name archive --prefect-file deploy/prefect.yaml
start prefect-worker "$bin/prefect" worker start --pool il
echo "pages http://127.0.0.1:$port   logs $run   stop with: make down"
