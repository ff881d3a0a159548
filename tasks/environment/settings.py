"""How our processes are set up before Prefect and MLflow are imported: nothing calls home, nothing floods the terminal.

Whatever the environment already says wins, but for folders and proxies that are of no use (`machine`). Nothing heavy is
imported here, so that `il --help` stays fast.
"""

import os

from tasks.environment import machine

#: DO_NOT_TRACK must read "true": MLflow does not understand "1".
QUIET_NETWORK = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

#: The embedded Prefect server takes 13 to 43 seconds to start on two cores; its own limit is 20.
PATIENCE = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
}

#: Prefect's own default lets every page read every answer; the embedded server has no page at all.
NO_PAGES = {"PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://127.0.0.1"}

#: MLflow's client asks a server that is gone for minutes; what it does not take is kept and sent later.
SOON = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}

#: Dask logs lost connections with tracebacks; what matters of them reaches us as an error that we say in a sentence.
QUIET_CLUSTER = {"DASK_LOGGING__DISTRIBUTED": "critical"}

#: One process a core is at work: decoding chunks in as many threads again would only fight for them.
THREADS = {"ZARR_THREADING__MAX_WORKERS": "2"}

QUIET_TERMINAL = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
}


def apply() -> None:
    """Set what nobody else has set: privacy, patience, quiet and modesty, in every process of ours."""
    machine.settle()
    for name, value in {**QUIET_NETWORK, **PATIENCE, **QUIET_CLUSTER, **THREADS, **NO_PAGES, **SOON}.items():
        os.environ.setdefault(name, value)


def hush() -> None:
    """Keep the libraries' own log lines off the terminal, for people who run `il`; a worker keeps its logs."""
    for name, value in QUIET_TERMINAL.items():
        os.environ.setdefault(name, value)
