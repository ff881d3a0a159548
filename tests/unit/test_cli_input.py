"""Bad input: one clear sentence, the right exit code, and nothing left behind, without a server being started."""

import json
import signal
import subprocess
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


@pytest.mark.medium
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
    from ilcore.results.write import create_array

    source = tmp_path / "scan.zarr"
    create_array(str(source), shape=(1, 1, 1, 64, 64), dtype="float32", axes="yx")
    refused(il("restore", source, source / "out.ome.zarr"), 2, "inside")


def test_weights_that_are_not_there(scan: Path) -> None:
    told = il("plan", scan, scan.with_name("out.ome.zarr"), "--method", "adapted", "--weights", scan.with_name("w.pt"))
    refused(told, 2, "w.pt")


@pytest.mark.parametrize("verb", ["resume", "status", "qa", "report"])
def test_a_run_that_was_never_begun(tmp_path: Path, verb: str) -> None:
    refused(il(verb, tmp_path / "out.ome.zarr"), 2, "out.ome.zarr")


@pytest.mark.medium
def test_a_plan_file_with_several_mistakes_hears_of_all(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("method: adapted\nscope: everywhere\ncolour: blue\n")
    told = il("restore", "--plan", plan)
    refused(told, 2, "scope")
    assert "colour" in told.stderr
    assert "source" in told.stderr


@pytest.mark.medium
def test_a_plan_can_be_saved_and_read_again(scan: Path) -> None:
    from ilcore.planning.plan import read_plan

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


@pytest.mark.medium
@pytest.mark.parametrize("inherited", ["SIG_DFL", "SIG_IGN"])
@pytest.mark.parametrize("words", ["answering('all is kept', again=lambda: 'il resume x')", "answering('all is kept')"])
def test_ctrl_c_says_what_is_safe_and_how_to_go_on(words: str, inherited: str) -> None:
    """Also in the background of a script, where a shell has Ctrl-C ignored in what it starts."""
    code = (
        "import os, signal, sys, time\nsys.argv = ['il', 'restore', 'a b', 'c']\n"
        "from flows.answers import answering\n"
        "import typer\n"
        "app = typer.Typer()\n"
        f"@app.command()\ndef work(a: str, b: str, c: str):\n    with {words}:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n        time.sleep(20)\n"
        "app()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, getattr(signal, inherited)),
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    again = "il resume x" if "again" in words else "il restore 'a b' c"
    assert done.stderr.startswith("stopped; all is kept; to go on: ")
    assert done.stderr.strip().endswith(again)
    assert len(done.stderr.splitlines()) == 1


def test_before_a_run_is_begun_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.answers import going_on

    monkeypatch.setattr(sys, "argv", ["il", "restore", "scan.tif", "a b.zarr"])
    target = tmp_path / "a b.zarr"
    assert going_on(str(target))().endswith("il restore scan.tif 'a b.zarr'")
    (tmp_path / "a b.zarr.il").mkdir()
    (tmp_path / "a b.zarr.il" / "plan.yaml").write_text("")
    assert going_on(str(target))().endswith(f"il resume '{target}'")


#: Words of commands with a place that is not there; {0} is a folder that is, and {1} a scan.
BAD_PLACES = (
    "info {0}/none", "plan {0}/none {0}/out", "plan {1} {0}/out --save {0}/none/plan.yaml", "plan {1} {1}",
    "plan {1} {0}/out --weights {0}/none", "restore {0}/none {0}/out", "restore {1} {1}/out", "restore --plan {0}/none",
    "restore {1} {0}/out --weights {0}/none", "restore {1} {0}/out --scheduler {0}/none.yaml", "resume {0}/none",
    "status {0}/none", "qa {0}/none", "verify {0}/none", "report {0}/none", "export {0}/none {0}/out.tif",
    "export {1} {0}/none/out.tif", "audit {0}/none", "audit {0}/none.yaml", "nightly {0}/none.yaml",
    "nightly {0}/none.yaml --dry-run", "schedule {0}/none.yaml", "bench --data {0}/none", "bench --images {0}/none",
    "pretrain {0}/out --corpus {0}/none", "methods --markdown {0}/none/methods.md",
)  # fmt: skip


@pytest.mark.medium
def test_bad_places_are_refused_without_anything_heavy(scan: Path) -> None:
    folder = scan.parent / "a folder"
    folder.mkdir()
    code = (
        "import json, sys\nfrom typer.testing import CliRunner\nfrom flows.cli import app\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    told = CliRunner().invoke(app, words)\n"
        "    heavy = [name for name in ('torch', 'scipy', 'prefect', 'mlflow', 'dask') if name in sys.modules]\n"
        "    print(json.dumps([words, told.exit_code, told.stderr, heavy]))\n"
    )
    words = [[word.format(folder, scan) for word in each.split()] for each in BAD_PLACES]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(words)], capture_output=True, text=True, timeout=120, check=True
    )
    for line in done.stdout.splitlines():
        given, exit_code, told, heavy = json.loads(line)
        assert exit_code in (1, 2), (given, told)
        assert told.startswith("error: "), (given, told)
        assert len(told.strip().splitlines()) == 1, given
        assert str(scan.parent) in told, "the sentence names the place"
        assert heavy == [], given
    assert len(done.stdout.splitlines()) == len(BAD_PLACES)
    assert sorted(path.name for path in scan.parent.iterdir()) == ["a folder", "scan.npy"]
