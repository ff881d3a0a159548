"""Seven nights on a platform of their own; in each something is killed. In the end all is done, and all was told."""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import pytest
from mlflow import MlflowClient
from supervisor.xmlrpc import SupervisorTransport

from ilcore.archives.books import Books
from ilcore.archives.due import Schedule, read_schedule, write_schedule
from ilcore.archives.lease import read_lease
from tasks.services.launch import left_over
from tasks.services.supervising import _socket
from tests.e2e.test_nightly import scan
from tests.hook import hook
from tests.platforms import Platform, logs
from tests.servers import until

pytestmark = [
    pytest.mark.slow, pytest.mark.timeout(3600),
    pytest.mark.skipif(not os.environ.get("IL_SOAK"), reason="takes a quarter of an hour: `make e2e` (IL_SOAK=1)"),
]  # fmt: skip


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path, "s3")
    try:
        code, told, trouble = platform.up("--s3")
        assert code == 0, told + trouble + logs(platform)
        yield platform
    finally:
        platform.down()
        for process in left_over(str(platform.state)):
            process.kill()


class Archive:
    """An archive on the platform's schedule, whose results go to its store and to its disk in turn."""

    def __init__(self, platform: Platform, address: str) -> None:
        self.platform, self.folder = platform, platform.folder / "archive"
        (self.folder / "disk").mkdir(parents=True)
        (self.folder / "store").mkdir()
        restore = {"method": "nlm", "axes": "yx", "tile": [1, 32, 32]}
        sources = [
            {"find": f"{kind}/*.npy", "target": f"{there}/{{stem}}.ome.zarr", "settle_minutes": 0, "restore": restore}
            for kind, there in (("disk", "out"), ("store", "s3://il-week/out"))
        ]
        night = {"device": "cpu", "tries": 1, "again_minutes": [0.5, 0.5]}
        self.file = self.folder / "archive.yaml"
        self.file.write_text(json.dumps({"name": "week", "books": "books", "sources": sources, "night": night}))
        self.books = Books.of(str(self.folder / "books"))
        il = platform.il
        il.environment["IL_NOTIFY_URL"] = address
        self.il = il
        code, out, trouble = il("schedule", self.file, "--folder", platform.state)
        assert code == 0, out + trouble

    def arrives(self, kind: str, seed: int) -> None:
        scan(self.folder / kind, f"{kind}{seed}", seed)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask Prefect's server, which on a busy machine does not always have its database at hand."""

        def answer() -> Any:
            try:
                return self.platform.ask(path, body)
            except OSError:
                return None

        return until(answer, 120, "the server answers")

    def begin(self) -> str:
        deployment = self.ask("deployments/name/nightly/week")
        return str(self.ask(f"deployments/{deployment['id']}/create_flow_run", {})["id"])

    def state(self, run: str) -> dict[str, Any]:
        return dict(self.ask(f"flow_runs/{run}")["state"])

    def reaches(self, run: str, *states: str, seconds: float = 300) -> None:
        until(lambda: self.state(run)["type"] in states, seconds, f"the night is {' or '.join(states)}")

    def ends(self, run: str, seconds: float = 300) -> dict[str, Any]:
        self.reaches(run, "COMPLETED", "FAILED", "CRASHED", "CANCELLED", seconds=seconds)
        return self.state(run)

    def standings(self) -> dict[str, str]:
        return {Path(each.source).stem: each.standing for each in self.books.all()}

    def kill(self, service: str) -> None:
        """Kill a server and all that it started, as a machine that loses its memory would."""
        for process in left_over(str(self.platform.state), service):
            process.kill()

    def comes_back(self) -> None:
        until(lambda: all(self.platform.health().values()), 300, "all servers are well again")


def test_seven_nights(platform: Platform) -> None:
    with hook() as (address, posted):
        week = Archive(platform, address)
        _make_bucket(week)
        _nights(week)
        words = "\n".join(each["text"] for each in posted)
    # Whoever is told to be there was: by the server of runs that ended badly, by the night itself of what was missed.
    assert "Crashed" in words
    assert "no night began" in words
    assert set(week.standings().values()) == {"done"}, week.standings()
    assert not week.books.standing("quarantined")
    tracked = _tracked(platform)
    assert {Path(target).name.removesuffix(".ome.zarr") for target in tracked} == set(week.standings())


def _nights(week: Archive) -> None:
    platform = week.platform
    week.arrives("disk", 1), week.arrives("store", 2)
    assert week.ends(week.begin())["type"] == "COMPLETED"

    # The worker dies while a night is PENDING: nobody ever works on that one.
    never = week.begin()
    week.reaches(never, "PENDING", "RUNNING")
    week.kill("prefect-worker")
    week.comes_back()
    week.arrives("disk", 3)
    assert week.ends(week.begin())["type"] in ("COMPLETED", "FAILED")
    assert week.standings()["disk3"] == "done"

    # Worker and night die while it is RUNNING, in the middle of a scan.
    week.arrives("disk", 4), week.arrives("disk", 5)
    died = week.begin()
    until(lambda: "begun" in week.standings().values(), 300, "a scan is begun")
    week.kill("prefect-worker")
    assert read_lease(week.books.running) is not None
    week.comes_back()
    time.sleep(125)
    assert week.ends(week.begin())["type"] == "FAILED", "somebody is told that the night before died"
    assert {week.standings()[name] for name in ("disk4", "disk5")} == {"done"}
    assert week.state(died)["type"] == "CRASHED"
    assert week.state(never)["type"] == "CRASHED"

    # Prefect's server dies under the night.
    week.arrives("disk", 6)
    run = week.begin()
    week.reaches(run, "RUNNING")
    week.kill("prefect-server")
    week.comes_back()
    until(lambda: read_lease(week.books.running) is None, 300, "the night is over, one way or the other")
    assert week.ends(week.begin())["type"] in ("COMPLETED", "FAILED")
    assert week.standings()["disk6"] == "done"

    # MLflow is away for a whole night, and there on the next.
    week.arrives("disk", 7)
    _asked_of(platform, "stopProcess", "mlflow-server")
    assert week.ends(week.begin())["type"] == "COMPLETED"
    assert list(week.books.untracked.iterdir())
    _asked_of(platform, "startProcess", "mlflow-server")
    week.comes_back()

    # The store is away; the same night comes back to what it spoilt, or the next one does.
    week.arrives("store", 8), week.arrives("disk", 9)
    _asked_of(platform, "stopProcess", "s3-server")
    # A store is waited for, a minute or two each time.
    ended = week.ends(week.begin(), 1200)
    assert ended["type"] == "FAILED", ended
    assert (week.standings()["store8"], week.standings()["disk9"]) == ("paused", "done")
    assert not list(week.books.untracked.iterdir())
    _asked_of(platform, "startProcess", "s3-server")
    week.comes_back()

    # Nobody was there for two days.
    schedule = read_schedule(week.books.schedule)
    assert schedule is not None
    _move_back(week, schedule)
    assert week.il("status", week.file)[0] == 3
    assert week.ends(week.begin())["type"] == "FAILED"
    assert "no night began" in "\n".join(week.books.night(week.books.nights()[-1])["trouble"])
    assert week.ends(week.begin())["type"] == "COMPLETED"


def _move_back(week: Archive, schedule: Schedule) -> None:
    """Let all that was done have been done three days ago."""
    earlier = (datetime.now(tz=UTC) - timedelta(days=3)).strftime("%Y-%m-%dT%H%M%S")
    for number, name in enumerate(week.books.nights()):
        content = week.books.night(name)
        (week.books.root / "nights" / f"{name}.json").unlink()
        week.books.write_night(f"{earlier}-{number}", content)
    write_schedule(week.books.schedule, Schedule(schedule.begin, "UTC", "2026-01-01T00:00:00+00:00", "nightly/week"))


def _asked_of(platform: Platform, what: str, service: str) -> None:
    transport = SupervisorTransport(None, None, f"unix://{_socket(platform.state)}")
    getattr(ServerProxy("http://127.0.0.1", transport).supervisor, what)(service)
    transport.close()


def _make_bucket(week: Archive) -> None:
    import s3fs

    told = week.il.environment
    files = s3fs.S3FileSystem(key=told["AWS_ACCESS_KEY_ID"], secret=told["AWS_SECRET_ACCESS_KEY"],
                              endpoint_url=told["AWS_ENDPOINT_URL"])  # fmt: skip
    files.mkdir("il-week")


def _tracked(platform: Platform) -> set[str]:
    """Return the targets of all runs that MLflow holds from start to end."""
    told = platform.exported
    os.environ |= {name: value for name, value in told.items() if name.startswith("MLFLOW_")}
    client = MlflowClient(told["MLFLOW_TRACKING_URI"])
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()], max_results=500)
    whole = [run for run in runs if run.info.status == "FINISHED" and "seconds" in run.data.metrics]
    return {run.data.tags["il.target"] for run in whole if "il.target" in run.data.tags}
