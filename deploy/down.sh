#!/usr/bin/env bash
# Stops what `make up` started: the worker first, so that it can say goodbye to the server.
set -euo pipefail
cd "$(dirname "$0")/.."
for name in prefect-worker prefect-server; do
  file=".run/$name.pid"
  [ -f "$file" ] || continue
  pid="$(cat "$file")"
  if kill "$pid" 2>/dev/null; then
    for _ in $(seq 30); do kill -0 "$pid" 2>/dev/null || break; sleep 1; done
    echo "stopped $name"
  fi
  rm -f "$file"
done
