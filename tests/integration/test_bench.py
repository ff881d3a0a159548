"""`il bench` from the command line: measures, writes, records, goes on after a kill."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app

METHODS = ("noisy", "nlm", "zs_n2n", "adapted")
IL = [sys.executable, "-c", "from flows.cli import main; main()"]


def il(folder: Path, *words: str, wait: float = 280) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*IL, *words], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=wait
    )  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {
        **os.environ, "PYTHONPATH": root, "PREFECT_HOME": str(folder / "prefect"), "COLUMNS": "120",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlruns.db'}", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def named(*names: str) -> list[str]:
    return [word for name in names for word in ("--method", name)]


def lines(folder: Path, name: str = "table.jsonl") -> list[dict[str, object]]:
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("bench")
    (folder / "table.md").write_text("# Ours\n\nkept\n")
    told = il(folder, "bench", "--quick", "--out", "table.md", *named(*METHODS, "dip:no_such=1"))
    assert told.returncode == 0, told.stderr
    return folder, told.stdout


def test_the_table_is_shown_and_written_between_its_markers(measured: tuple[Path, str]) -> None:
    folder, shown = measured
    page = (folder / "table.md").read_text()
    assert page.startswith("# Ours\n\nkept\n")
    for name in METHODS:
        assert name in shown
        assert f"| {name} |" in page
    assert "il bench --quick" in page
    assert "no_such" in page
    assert str(folder) not in page


def test_every_image_is_a_line_and_the_refusal_too(measured: tuple[Path, str]) -> None:
    found = lines(measured[0])
    assert len(found) == 2 * (len(METHODS) + 1)
    assert {row["method"] for row in found if row["refused"]} == {"dip:no_such=1"}
    assert all(row["setting"] == "2 steps, crop 32" for row in found)


def test_one_run_is_recorded_with_table_and_scores(measured: tuple[Path, str]) -> None:
    folder, _ = measured
    with sqlite3.connect(folder / "mlruns.db") as database:
        runs = list(database.execute("select name, status, artifact_uri from runs"))
        metrics = dict(database.execute("select key, value from metrics"))
    ((name, status, place),) = runs
    assert name.startswith("benchmark-")
    assert status == "FINISHED"
    assert metrics["nlm/scenes/psnr"] > metrics["noisy/scenes/psnr"] + 3
    kept = Path(place.removeprefix("file://")) / "benchmark"
    assert {file.name for file in kept.iterdir()} == {"table.md", "table.jsonl"}


def test_a_killed_benchmark_goes_on_where_it_was(tmp_path: Path) -> None:
    words = ["bench", "--quick", "--out", "table.md", "--limit", "4", *named("noisy", "tv", "bm3d:strength=0.9", "nlm")]
    process = subprocess.Popen([*IL, *words], cwd=tmp_path, env=environment(tmp_path), start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    until = time.monotonic() + 200
    while len(lines_so_far(tmp_path)) < 3 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = lines_so_far(tmp_path)
    assert len(before) >= 3
    assert il(tmp_path, *words).returncode == 0
    after = lines(tmp_path)
    assert after[: len(before)] == before
    assert len({row["key"] for row in after}) == len(after) == 4 * 2 * 4


def lines_so_far(folder: Path) -> list[dict[str, object]]:
    path = folder / "table.jsonl"
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "nonsense"], "nonsense"),
        (["--set", "set99"], "set99"),
        (["--data", "nowhere"], "nowhere"),
        (["--external", "x=cmd"], "{restored}"),
    ],
)
def test_bad_wishes_end_with_2_before_prefect_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["bench", *words])
    assert ended.exit_code == 2
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
