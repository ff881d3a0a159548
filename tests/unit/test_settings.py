"""Nothing calls home unless somebody asked for it."""

import os
import subprocess
import sys

import pytest

from tasks.environment import settings


@pytest.mark.medium
def test_telemetry_is_off_before_prefect_and_mlflow_are_imported() -> None:
    code = (
        "import flows, os, sys\n"
        "assert 'prefect' not in sys.modules and 'mlflow' not in sys.modules\n"
        "import prefect.settings as p\n"
        "assert p.PREFECT_SERVER_ANALYTICS_ENABLED.value() is False\n"
        "assert p.PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value() == 180\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "assert is_telemetry_disabled()\n"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MLFLOW", "DO_NOT"))}
    subprocess.run([sys.executable, "-c", code], check=True, env=clean, timeout=120)


def test_what_the_environment_says_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    settings.apply()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"
