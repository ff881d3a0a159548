"""Bad input: one clear sentence, the right exit code, and nothing left behind, without a server being started."""

import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from flows.cli import app


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32))
    return tmp_path / "scan.npy"


def il(*words: object) -> Result:
    before = "flows.restore" in sys.modules
    told = CliRunner().invoke(app, [str(word) for word in words])
    assert before or "flows.restore" not in sys.modules, "refused before Prefect is imported"
    return told


def refused(told: Result, code: int, sentence: str) -> None:
    assert told.exit_code == code, told.output
    assert sentence in told.stderr
    assert told.stderr.startswith("error: ")
    assert len(told.stderr.strip().splitlines()) == 1


def test_a_missing_source(tmp_path: Path) -> None:
    refused(il("restore", tmp_path / "nothing.tif", tmp_path / "out.ome.zarr"), 2, "nothing.tif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--method", "zsn2n"), "did you mean 'zs_n2n'"),
        (("--method", "zs_n2n", "--set", "stop.stepz=3"), "there are: steps"),
        (("--method", "zs_n2n", "--set", "stop.steps"), "KNOB=VALUE"),
        (("--tile", "64"), "2 or 3 whole numbers"),
        (("--axes", "qyx"), "axes out of t c z y x"),
    ],
)
def test_wishes_that_cannot_be_met(scan: Path, words: tuple[str, ...], sentence: str) -> None:
    refused(il("restore", scan, scan.with_name("out.ome.zarr"), *words), 2, sentence)
    assert [path.name for path in scan.parent.iterdir()] == ["scan.npy"]


def test_a_destination_inside_the_source(tmp_path: Path) -> None:
    from ilcore.volumes.write import create_array

    source = tmp_path / "scan.zarr"
    create_array(str(source), shape=(1, 1, 1, 64, 64), dtype="float32", axes="yx")
    refused(il("restore", source, source / "out.ome.zarr"), 2, "inside")


def test_weights_that_are_not_there(scan: Path) -> None:
    told = il("plan", scan, scan.with_name("out.ome.zarr"), "--method", "adapted", "--weights", scan.with_name("w.pt"))
    refused(told, 2, "w.pt")


@pytest.mark.parametrize("verb", ["resume", "status", "qa", "report"])
def test_a_run_that_was_never_begun(tmp_path: Path, verb: str) -> None:
    refused(il(verb, tmp_path / "out.ome.zarr"), 2, "out.ome.zarr")


def test_a_plan_file_with_several_mistakes_hears_of_all(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("method: adapted\nscope: everywhere\ncolour: blue\n")
    told = il("restore", "--plan", plan)
    refused(told, 2, "scope")
    assert "colour" in told.stderr
    assert "source" in told.stderr


def test_a_plan_can_be_saved_and_read_again(scan: Path) -> None:
    from ilcore.restoring.plan import read_plan

    saved = scan.with_name("plan.yaml")
    told = il("plan", scan, scan.with_name("out.ome.zarr"), "--method", "zs_n2n", "--steps", "7", "--save", saved)
    assert told.exit_code == 0, told.output
    assert read_plan(saved).overrides == {"stop.steps": 7}
    assert saved.read_text() == told.stdout
    assert sorted(path.name for path in scan.parent.iterdir()) == ["plan.yaml", "scan.npy"]


def test_info_for_programs(scan: Path) -> None:
    import json

    told = json.loads(il("info", scan, "--json").stdout)
    assert told["shape"] == [64, 64]
    assert told["noise"][0]["missing"] == "0.00%"
    assert told["noise"][0]["witnesses"]
