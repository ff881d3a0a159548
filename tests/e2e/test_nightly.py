"""A week of nights over an archive: new scans, changed ones, bad ones, a crash, an order to stop, a short night."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ilcore.archives.books import Books
from ilcore.restoring.alone import carry_out
from ilcore.restoring.workspace import Workspace
from tests.il import Il, end
from tests.scenes import noisy, scene
from tests.servers import PrefectServer, until

HERE = Path(__file__).resolve()
SIDE = 64

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture(scope="module")
def il(prefect_server: PrefectServer) -> Il:
    return Il({**prefect_server.environment, "IL_GRACE_SECONDS": "60"})


def scan(folder: Path, name: str, seed: int) -> Path:
    path = folder / f"{name}.npy"
    np.save(
        path, (noisy(scene("cells", (SIDE, SIDE), seed), std=0.06, seed=seed) * 4000 + 500).clip(0, 65535).astype("u2")
    )
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
        return scan(self.folder / "new", name, seed)

    def standings(self) -> dict[str, str]:
        found = [json.loads(path.read_text()) for path in (self.folder / "books" / "scans").iterdir()]
        return {Path(entry["source"]).stem: entry["standing"] for entry in found}

    def count(self, standing: str) -> int:
        try:
            return sum(each == standing for each in self.standings().values())
        except (OSError, ValueError):
            return 0


def test_a_week(il: Il, tmp_path: Path) -> None:
    week = Week(il, tmp_path)
    first = {f"a{n}": n for n in range(4)}
    nights = week.nights({**first, "bad": -1}, {"b0": 10, "b1": 11}, {})
    assert [night["counts"] for night in nights] == [{"done": 4, "quarantined": 1}, {"done": 2}, {}]
    assert {each["todo"] for each in nights[2]["not_done"]} == {"done", "quarantine"}

    # The third night is killed in the middle, and the scan that it was at is taken up by the fourth.
    for n in range(4):
        scan(tmp_path / "scans", f"c{n}", 20 + n)
    before = week.count("done")
    process = il.start("nightly", week.archive)
    try:
        until(lambda: week.count("done") > before and week.count("begun") == 1, 200, "a scan is done, another begun")
    finally:
        end(process)
    assert week.count("begun") == 1
    killed_after = week.count("done")
    nights += week.nights({"a0": 100, "a1": 101, "d0": 30})
    # Two have changed, one is new, and of the four of yesterday those are left that were not done.
    assert nights[3]["counts"] == {"done": 3 + 4 - (killed_after - before)}
    assert set(week.standings().values()) == {"done", "quarantined"}

    # The next is told to stop: what is at work is finished, and the rest waits.
    for n in range(4):
        scan(tmp_path / "scans", f"e{n}", 40 + n)
    before = week.count("done")
    process = il.start("nightly", week.archive)
    try:
        until(lambda: week.count("done") > before, 200, "a scan is done")
        process.send_signal(signal.SIGTERM)
        _, trouble = process.communicate(timeout=200)
    finally:
        end(process)
    assert week.count("done") < before + 4, trouble
    assert week.count("begun") == 0, trouble
    nights += week.nights({}, {})
    assert nights[-1]["counts"] == {}
    assert week.standings() == {
        **{
            f"{day}{n}": "done"
            for day, count in (("a", 4), ("b", 2), ("c", 4), ("d", 1), ("e", 4))
            for n in range(count)
        },
        "bad": "quarantined",
    }
    _is_whole(week)
    for night in nights:
        assert night["workers"] == 0
    assert nights[2]["megabytes"] < nights[0]["megabytes"] + 200
    assert nights[2]["files"] < nights[0]["files"] + 20
    assert len(Books.of(str(tmp_path / "books")).nights()) >= 6


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
