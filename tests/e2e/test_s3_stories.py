"""What a user does with `il` on a real S3 server, in real processes: no secret is left anywhere, no fault loses a byte.

About three minutes on two cores.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from ilcore import open_volume
from ilcore.grammar.region import whole
from ilcore.running.local import carry_out
from ilcore.running.workspace import Workspace
from tests.e2e.test_stories import QUICK, SLOW
from tests.il import Il, done_of, end
from tests.s3 import KEY, SECRET, S3Server
from tests.servers import PrefectServer, until

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

#: How long the server is away.
OUTAGE_SECONDS = 25


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    clean = np.add.outer(np.sin(np.arange(192) / 9), np.cos(np.arange(256) / 7))
    path = tmp_path_factory.mktemp("scan") / "scan.npy"
    np.save(path, (clean + rng.normal(0, 0.4, clean.shape)).astype(np.float32))
    return path


@pytest.fixture
def il(prefect_server: PrefectServer, s3_server: S3Server, bucket: str) -> Il:
    loud = {"PREFECT_LOGGING_LEVEL": "DEBUG", "PREFECT_LOGGING_TO_API_ENABLED": "true"}
    return Il({**prefect_server.environment, **s3_server.environment, **loud})


@pytest.fixture
def running(il: Il) -> Iterator[list]:
    """Processes that are ended with the test."""
    processes: list = []
    yield processes
    for process in processes:
        end(process)


def test_a_scan_is_restored_in_a_store_and_no_secret_is_left_anywhere(
    il: Il, scan: Path, bucket: str, s3_server: S3Server, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    target = f"{bucket}/clean.ome.zarr"
    answers = {"restore": il("restore", scan, target, *QUICK, "--workers", 2)}
    page = tmp_path / "report.html"
    asked = {
        "status": ["--json"],
        "qa": ["--json"],
        "report": ["--copy", page],
        "plan": ["--save", tmp_path / "plan.yaml"],
    }
    for word, options in asked.items():
        places = [target] if word != "plan" else [scan, target]
        told = CliRunner().invoke(app, [word, *map(str, [*places, *options])])
        answers[word] = told.exit_code, told.stdout, told.stderr
    assert {name: code for name, (code, _, _) in answers.items()} == dict.fromkeys(answers, 0), answers
    assert json.loads(answers["status"][1])["state"] == "published"
    assert json.loads(answers["qa"][1])["verdict"] in ("pass", "warn")
    assert open_volume(target).shape == (1, 1, 1, 192, 256)
    found = {**s3_server.objects(target), **s3_server.objects(f"{target}.il")}
    assert {"zarr.json", "report.html", "record.json", "plan.yaml"} <= set(found)
    assert b"data:image/png" in page.read_bytes() == found["report.html"]

    told = [text.encode() for answer in answers.values() for text in answer[1:]]
    kept = [path for home in (prefect_server.home, tmp_path) for path in home.rglob("*") if path.is_file()]
    assert any(path.name == "mlruns.db" for path in kept)
    databases = [path.read_bytes() for path in kept if path.suffix == ".db"]
    assert sum(b"clean.ome.zarr" in content for content in databases) == 2, "MLflow's and Prefect's"
    for content in (*told, *found.values(), *(path.read_bytes() for path in kept)):
        assert SECRET.encode() not in content
        assert KEY.encode() not in content


def test_a_server_that_is_away_for_a_while_is_waited_for(
    il: Il, scan: Path, bucket: str, s3_server: S3Server, running: list, tmp_path: Path
) -> None:
    target = f"{bucket}/clean.ome.zarr"
    process = il.start("restore", scan, target, *SLOW, "--workers", 2)
    running.append(process)
    done = until(lambda: done_of(target), 300, "some tiles are done")
    s3_server.kill()
    time.sleep(OUTAGE_SECONDS)
    s3_server.restart()
    told, trouble = process.communicate(timeout=300)
    assert process.returncode == 0, told + trouble
    assert done < 12, "away in the middle"
    _same_as_on_a_disk(target, s3_server, tmp_path)


def test_a_killed_run_is_taken_over_to_the_same_bytes(
    il: Il, scan: Path, bucket: str, s3_server: S3Server, running: list, tmp_path: Path
) -> None:
    target = f"{bucket}/clean.ome.zarr"
    process = il.start("restore", scan, target, *SLOW, "--workers", 1)
    running.append(process)
    done = until(lambda: done_of(target), 300, "some tiles are done")
    code, _, trouble = il("resume", target)
    assert (code, str(process.pid) in trouble) == (1, True), trouble
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert done < 12, "killed in the middle"
    assert "zarr.json" not in s3_server.objects(target)
    code, told, trouble = il("resume", target, "--workers", 2)
    assert code == 0, told + trouble
    _same_as_on_a_disk(target, s3_server, tmp_path)


def _same_as_on_a_disk(target: str, server: S3Server, folder: Path) -> None:
    plan = Workspace.of(target).plan_of_run()
    there = folder / "clean.ome.zarr"
    carry_out(plan.model_copy(update={"target": str(there)}))
    wanted = {str(path.relative_to(there)): path.read_bytes() for path in there.rglob("c/*/*")}
    found = {name.partition("/")[2]: content for name, content in server.objects(target).items() if "/c/" in name}
    assert wanted
    assert found == wanted
    volume = open_volume(target)
    np.testing.assert_array_equal(volume.read(whole(volume.shape)), open_volume(there).read(whole(volume.shape)))
