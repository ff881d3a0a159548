"""A week of nights over an archive: new scans, changed ones, bad ones, a crash, an order to stop, a short night."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ilcore.archives.books import Books
from ilcore.running.local import carry_out
from ilcore.running.workspace import Workspace
from tests.il import Il, end
from tests.scenes import noisy, scene
from tests.servers import PrefectServer, until

HERE = Path(__file__).resolve()
SIDE = 64
#: Scans that arrive on each day: forty in all where somebody has the time (`make e2e`), else a few.
MANY = bool(int(os.environ.get("IL_SOAK", "0")))
A, B, C, D, E = (14, 8, 8, 2, 8) if MANY else (2, 2, 3, 1, 3)

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture(scope="module")
def il(prefect_server: PrefectServer) -> Il:
    return Il({**prefect_server.environment, "IL_GRACE_SECONDS": "60"})


def scan(folder: Path, name: str, seed: int, std: float = 0.06) -> Path:
    path = folder / f"{name}.npy"
    seen = noisy(scene("cells", (SIDE, SIDE), seed), std=std, seed=seed)
    np.save(path, (seen * 4000 + 2000).clip(0, 65535).astype("u2"))
    return path


def archive_in(folder: Path, **restore: object) -> Path:
    (folder / "scans").mkdir(exist_ok=True)
    content = {
        "name": "week", "books": "books",
        "sources": [
            {"find": "scans/*.npy", "target": "out/{stem}.ome.zarr", "settle_minutes": 0,
             "restore": {"method": "nlm", "axes": "yx", "tile": [1, 32, 32], **restore}},
        ],
        "night": {"workers": 1, "device": "cpu", "tries": 2},
    }  # fmt: skip
    path = folder / "archive.yaml"
    path.write_text(json.dumps(content))
    return path


class Week:
    """Scans that arrive day by day, and nights over them."""

    def __init__(self, il: Il, folder: Path) -> None:
        self.il, self.folder = il, folder
        self.archive = archive_in(folder)
        (folder / "new").mkdir()

    def nights(self, *days: dict[str, int]) -> list[dict]:
        """Run one night for each day's scans, name and seed, in one process."""
        copies = [
            [[str(self.made(name, seed)), str(self.folder / "scans" / f"{name}.npy")] for name, seed in day.items()]
            for day in days
        ]
        (self.folder / "days.json").write_text(json.dumps(copies))
        done = subprocess.run(
            [sys.executable, str(HERE.with_name("week.py")), self.archive, self.folder / "days.json"],
            capture_output=True, text=True, timeout=600, check=False,
            env={**self.il.environment, "PYTHONPATH": str(HERE.parents[2])},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def made(self, name: str, seed: int) -> Path:
        if seed < 0:
            path = self.folder / "new" / f"{name}.npy"
            path.write_bytes(b"no scan at all")
            return path
        return scan(self.folder / "new", name, seed, 0.2 if name.startswith("drifted") else 0.06)

    def entries(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in (self.folder / "books" / "scans").iterdir()]

    def standings(self) -> dict[str, str]:
        return {Path(entry["source"]).stem: entry["standing"] for entry in self.entries()}

    def count(self, standing: str) -> int:
        try:
            return sum(each == standing for each in self.standings().values())
        except (OSError, ValueError):
            return 0


def days(letter: str, count: int, first: int) -> dict[str, int]:
    return {f"{letter}{n}": first + n for n in range(count)}


@pytest.mark.timeout(2400)
def test_a_week(il: Il, tmp_path: Path) -> None:
    week = Week(il, tmp_path)
    nights = week.nights({**days("a", A, 0), "bad": -1}, days("b", B, 20), {})
    assert [night["counts"] for night in nights] == [{"done": A, "quarantined": 1}, {"done": B}, {}]
    assert {each["todo"] for each in nights[2]["not_done"]} == {"done", "quarantine"}

    # The fourth night is killed in the middle, and the scan that it was at is taken up by the fifth.
    for name, seed in days("c", C, 40).items():
        scan(tmp_path / "scans", name, seed)
    before = week.count("done")
    process = il.start("nightly", week.archive)
    try:
        until(lambda: week.count("done") > before and week.count("begun") == 1, 200, "a scan is done, another begun")
    finally:
        end(process)
    assert week.count("begun") == 1
    killed_after = week.count("done")
    nights += week.nights({"a0": 100, "a1": 101, **days("drifted", D, 60)})
    # Two have changed, some are new, and of those of yesterday the ones are left that were not done.
    assert nights[3]["counts"] == {"done": 2 + D + C - (killed_after - before)}
    assert set(week.standings().values()) == {"done", "quarantined"}
    drifted = {Path(entry["source"]).stem for entry in week.entries() if entry["drift"]}
    assert drifted == set(days("drifted", D, 60))

    # The sixth is told to stop: what is at work is finished, and the rest waits for the seventh.
    for name, seed in days("e", E, 80).items():
        scan(tmp_path / "scans", name, seed)
    before = week.count("done")
    process = il.start("nightly", week.archive)
    try:
        until(lambda: week.count("done") > before, 200, "a scan is done")
        process.send_signal(signal.SIGTERM)
        _, trouble = process.communicate(timeout=200)
    finally:
        end(process)
    assert week.count("done") < before + E, trouble
    assert week.count("begun") == 0, trouble
    nights += week.nights({}, {})
    assert nights[-1]["counts"] == {}
    whole = {**days("a", A, 0), **days("b", B, 0), **days("c", C, 0), **days("drifted", D, 0), **days("e", E, 0)}
    assert week.standings() == {**dict.fromkeys(whole, "done"), "bad": "quarantined"}
    _is_whole(week)
    for night in nights:
        assert night["workers"] == 0
    assert nights[2]["megabytes"] < nights[0]["megabytes"] + 200
    assert nights[2]["files"] < nights[0]["files"] + 20
    assert len(Books.of(str(tmp_path / "books")).nights()) >= 6
    code, told, trouble = il("audit", week.archive, "--tiles", 1, "--seed", 0)
    assert code == 0, told + trouble
    assert f"{len(whole)} of {len(whole)} results are sound" in told


def _is_whole(week: Week) -> None:
    """Every result is what its plan makes of the scan of the last day, to the last byte."""
    for path in sorted((week.folder / "scans").glob("*.npy")):
        if path.stem == "bad":
            continue
        target = week.folder / "out" / f"{path.stem}.ome.zarr"
        plan = Workspace.of(target).plan_of_run()
        again = week.folder / "again" / f"{path.stem}.ome.zarr"
        carry_out(plan.model_copy(update={"target": str(again)}))
        for name in ("0/c/0/0", "0/zarr.json"):
            assert (again / name).read_bytes() == (target / name).read_bytes(), path
    page = (week.folder / "books" / "mornings" / "last-night.html").read_text()
    assert "week: night of" in page
