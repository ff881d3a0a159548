"""MLflow as a team has it: a server, its records in PostgreSQL, its artifacts in a store, several flows at once."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mlflow.artifacts import download_artifacts
from safetensors.torch import save_file

from tasks.environment.settings import QUIET_NETWORK
from tasks.tracking.client import NIGHT, Tracker
from tests.postgres import PROGRAMS, Postgres
from tests.s3 import S3Server
from tests.servers import ROOT, free_port, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed: MLflow is not tried on it"),
]


@pytest.fixture(scope="module")
def server(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database, port = Postgres(), free_port()
    log = tmp_path_factory.mktemp("mlflow") / "log"
    address = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ, **s3_server.environment, **QUIET_NETWORK, "MLFLOW_BACKEND_STORE_URI": database.uri,
        "MLFLOW_S3_ENDPOINT_URL": s3_server.endpoint, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }  # fmt: skip
    place = f"s3://{s3_server.bucket}/mlflow"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--artifacts-destination", place),
    ]
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            assert process.poll() is None, log.read_text()[-3000:]
            return False

    try:
        until(answers, 200, "MLflow answers")
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)
        database.stop()


def test_flows_record_at_once_and_nothing_is_lost(server: str) -> None:
    script = Path(__file__).with_name("mlflow_work.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    flows = [
        subprocess.Popen(
            [sys.executable, script, server, str(number)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for number in range(3)
    ]
    for flow in flows:
        _, trouble = flow.communicate(timeout=300)
        assert flow.returncode == 0, trouble
    tracker = Tracker(server)
    experiment = tracker.experiment("ilcore")
    runs = tracker.client.search_runs([experiment], f"tags.`{NIGHT}` = 'week 1'")
    assert {run.info.run_name for run in runs} == {f"flow{flow}-scan{scan}" for flow in range(3) for scan in range(3)}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        assert len(tracker.client.get_metric_history(run.info.run_id, "loss")) == 1500
        path = download_artifacts(run_id=run.info.run_id, artifact_path="tiles/tiles.json", tracking_uri=server)
        assert len(json.loads(Path(path).read_text())["data"]) == 50


def test_the_registry_keeps_weights_in_the_store(
    server: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    save_file({"w": torch.arange(4.0)}, tmp_path / "a.safetensors")
    tracker = Tracker(server)
    registered = tracker.register_weights(tmp_path / "a.safetensors", name="il-try", alias="champion")
    found = tracker.find_weights("models:/il-try@champion")
    assert found == registered
    assert found.path.read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    kept = [name for name in s3_server.files.find(f"{s3_server.bucket}/mlflow") if name.endswith("a.safetensors")]
    assert len(kept) == 1
