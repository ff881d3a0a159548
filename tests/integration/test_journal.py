"""Runs whose records MLflow did not take: they wait in order, and are complete once they are sent."""

import json
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from ilcore.archives.scan_registry import ScanRegistry
from ilcore.grammar.errors import TrackingError
from tasks.tracking import journal as journal_module
from tasks.tracking.client import EXPERIMENT, RunPayload, Tracker, VolumeRun
from tasks.tracking.journal import Journal, send, waiting

VOLUME = VolumeRun(name="a", source="/s.tif", target="/t.ome.zarr", fingerprint="f" * 64, digest="d" * 64)
CURVE = {"loss": [(0, 1.0), (50, 0.25)]}


class Away:
    """A server that is away from some call on, until it comes back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = 10**9
        monkeypatch.setattr(journal_module, "Tracker", self._tracker)

    def _tracker(self, uri: str) -> Tracker:
        if self.answers <= 0:
            raise TrackingError("MLflow must take the run's records, got no answer")
        self.answers -= 1
        return Tracker(uri)


def restored(uri: str, queue: Path, report: Path) -> Journal:
    """Tell of a restoration from start to end."""
    run = Journal(uri, queue)
    run.begin(
        VOLUME, RunPayload(params={"method": "nlm"}, tags={"il.night": "n"}, texts={"config/plan.yaml": "p: 1\n"})
    )
    run.note(
        RunPayload(metrics={"gain": 3.5}, curves=CURVE, tables={"tiles.json": [{"t": 1}]}, files={report: "report"})
    )
    run.end("FINISHED")
    return run


@pytest.mark.parametrize("answers", [0, 1, 2])
def test_whenever_the_server_goes_the_run_is_complete_in_the_end(answers, tmp_path, monkeypatch):
    uri, queue = f"sqlite:///{tmp_path}/runs.db", tmp_path / "untracked"
    (tmp_path / "report.html").write_text("<p>as it was</p>")
    away = Away(monkeypatch)
    away.answers = answers
    run = restored(uri, queue, tmp_path / "report.html")
    assert run.is_waiting
    assert "il track" in run.page
    # What happens to the file later changes nothing of what is told.
    (tmp_path / "report.html").write_text("<p>of another run</p>")
    with pytest.raises(TrackingError):
        send(queue)
    assert len(waiting(queue)) == 1
    away.answers = 10**9
    assert send(queue) == (1, 0)
    assert send(queue) == (0, 0)
    [told] = MlflowClient(uri).search_runs([Tracker(uri).experiment(EXPERIMENT)])
    assert told.info.status == "FINISHED"
    assert told.data.params == {"method": "nlm"}
    assert told.data.metrics == {"gain": 3.5, "loss": 0.25}
    assert told.data.tags["il.night"] == "n"
    assert [each.step for each in MlflowClient(uri).get_metric_history(told.info.run_id, "loss")] == [0, 50]
    folder = Path(told.info.artifact_uri.removeprefix("file://"))
    assert (folder / "report/report.html").read_text() == "<p>as it was</p>"
    assert (folder / "config/plan.yaml").read_text() == "p: 1\n"
    assert json.loads((folder / "tiles.json").read_text())["data"] == [[1]]
    assert not list(queue.iterdir())


def test_times_are_those_of_the_run_and_not_of_the_sending(tmp_path, monkeypatch):
    uri, queue = f"sqlite:///{tmp_path}/runs.db", tmp_path / "untracked"
    (tmp_path / "report.html").write_text("r")
    away = Away(monkeypatch)
    away.answers = 0
    restored(uri, queue, tmp_path / "report.html")
    ended, away.answers = 1000 * time.time(), 10**9
    time.sleep(0.01)
    send(queue)
    [told] = MlflowClient(uri).search_runs([Tracker(uri).experiment(EXPERIMENT)])
    assert told.info.start_time <= told.info.end_time <= ended


def test_sending_that_is_cut_off_goes_on_where_it_was(tmp_path, monkeypatch):
    uri, queue = f"sqlite:///{tmp_path}/runs.db", tmp_path / "untracked"
    (tmp_path / "report.html").write_text("r")
    away = Away(monkeypatch)
    away.answers = 0
    restored(uri, queue, tmp_path / "report.html")
    away.answers = 2
    with pytest.raises(TrackingError):
        send(queue)
    away.answers = 10**9
    assert send(queue) == (1, 0)
    [told] = MlflowClient(uri).search_runs([Tracker(uri).experiment(EXPERIMENT)])
    assert told.data.metrics["gain"] == 3.5
    assert told.info.status == "FINISHED"


def test_what_a_night_did_waits_as_well(tmp_path, monkeypatch):
    books = ScanRegistry.of(str(tmp_path / "books"))
    away = Away(monkeypatch)
    away.answers = 0
    uri = f"sqlite:///{tmp_path}/runs.db"
    Journal(uri, books.untracked).keep(f"{EXPERIMENT}-nights", "cryo-n", RunPayload(metrics={"scans": 3}), "FAILED")
    away.answers = 10**9
    assert send(books.untracked) == (1, 0)
    tracker = Tracker(uri)
    [told] = tracker.client.search_runs([tracker.experiment(f"{EXPERIMENT}-nights")])
    assert (told.info.status, told.data.metrics) == ("FAILED", {"scans": 3.0})
