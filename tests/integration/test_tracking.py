"""A real MLflow store and registry on SQLite."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from ilcore.grammar.errors import BadWeights, ILError
from tasks.tracking.client import CHAMPION, DENOISER, Sheet, Tracker, VolumeRun, tracking_uri

VOLUME = VolumeRun(
    name="scan-adapted", source="/data/scan.tif", target="/data/o'ut.ome.zarr", fingerprint="f" * 64, digest="d" * 64
)
SHEET = Sheet(
    params={"method": "adapted", "steps": 100},
    metrics={"tiles_failed": 0, "nothing": None, "endless": float("inf")},
    curves={"loss/0-0-0-0": [(0, 1.0), (50, 0.25)]},
    tables={"tiles/tiles.json": [{"tile": "0-0-0-0", "steps": 50}, {"tile": "0-0-0-1", "steps": 70}]},
    texts={"config/plan.yaml": "method: adapted\n"},
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Tracker(tracking_uri(str(tmp_path_factory.mktemp("runs") / "out.ome.zarr")))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_a_run_holds_what_was_noted(store: Tracker) -> None:
    run_id = store.begin(VOLUME, Sheet())
    store.note(run_id, SHEET)
    store.end(run_id, "FINISHED")
    run = store.client.get_run(run_id)
    assert run.data.params == {"method": "adapted", "steps": "100"}
    assert run.data.metrics == {"tiles_failed": 0.0, "loss/0-0-0-0": 0.25}
    assert run.inputs.dataset_inputs[0].dataset.name == "scan.tif"
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (folder / "config/plan.yaml").read_text() == "method: adapted\n"
    assert "numpy==" in (folder / "config/environment.txt").read_text()
    table = json.loads((folder / "tiles/tiles.json").read_text())
    assert table == {"columns": ["tile", "steps"], "data": [["0-0-0-0", 50], ["0-0-0-1", 70]]}


def test_an_unfinished_run_is_taken_up_and_a_finished_one_is_not(store: Tracker) -> None:
    first = store.begin(VOLUME, Sheet())
    assert store.begin(VOLUME, Sheet()) == first
    store.end(first, "FINISHED")
    assert store.begin(VOLUME, Sheet()) != first


def test_weights_come_back_from_the_registry_by_alias(store: Tracker, cache: Path) -> None:
    assert store.champion() is None
    for number in (1, 2):
        file = cache / "new.safetensors"
        file.write_bytes(b"weights %d" % number)
        store.register_weights(file, metrics={"psnr": 30.0 + number})
    champion = store.champion()
    assert champion is not None
    assert champion.uri == f"models:/{DENOISER}/2"
    assert champion.path.read_bytes() == b"weights 2"
    assert store.find_weights(f"models:/{DENOISER}/1").path.read_bytes() == b"weights 1"


@pytest.mark.parametrize("uri", ["models:/nobody@champion", f"models:/{DENOISER}@nobody", f"models:/{DENOISER}/99"])
def test_unknown_weights_are_refused_by_name(store: Tracker, uri: str) -> None:
    with pytest.raises(BadWeights, match=uri):
        store.find_weights(uri)


def test_altered_weights_are_refused(store: Tracker, cache: Path) -> None:
    file = cache / "good.safetensors"
    file.write_bytes(b"good")
    kept = store.register_weights(file, name="altered", alias=CHAMPION)
    version = store.client.get_model_version("altered", "1")
    Path(version.source.removeprefix("file://")).write_bytes(b"evil")
    kept.path.write_bytes(b"also evil")
    with pytest.raises(BadWeights, match="altered"):
        store.find_weights("models:/altered@champion")


def test_a_database_touched_by_three_processes_at_once_is_whole(tmp_path: Path) -> None:
    uri = tracking_uri(str(tmp_path / "out.zarr"))
    code = f"from tasks.tracking.client import Tracker; Tracker({uri!r})"
    touching = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(240) for process in touching] == [0, 0, 0]
    with sqlite3.connect(tmp_path / "mlruns.db") as database:
        names = [row[0] for row in database.execute("select name from experiments")]
    assert "ilcore" in names


def test_what_another_flow_made_since_we_looked_is_taken(store: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([None])
    known = MlflowClient.get_experiment_by_name
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda self, name: next(looks, known(self, name)))
    assert Tracker(store.uri).experiment("ilcore") == store.experiment("ilcore")


def test_a_store_that_cannot_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "mlruns.db").write_bytes(b"this is no database at all, but long enough to be read as one" * 20)
    with pytest.raises(ILError, match="tracking URI"):
        Tracker(tracking_uri(str(tmp_path / "out.zarr")))


def test_where_runs_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(str(tmp_path / "a.zarr")) == f"sqlite:///{tmp_path / 'mlruns.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert tracking_uri(str(tmp_path / "a.zarr")) == "http://tracking:5000"
    assert tracking_uri("x", "sqlite:///mine.db") == "sqlite:///mine.db"
