"""What is not installed: the library does without what belongs to an extra, and `il` names the extra."""

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from flows.extras import EXTRAS, in_words

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Looked for where a volume wants them, by code that says itself what to install.
ASKED_FOR = {"bioio": "bioio", "bioio_base": "bioio", "rasterio": "geo", "bm3d": "bm3d"}


def imported_by(room: str) -> set[str]:
    """Return the packages that a room imports, ours and Python's left out."""
    found = set()
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
    return found - sys.stdlib_module_names - {"ilcore", "tasks", "flows"}


def brought_by(lines: list[str]) -> set[str]:
    """Return the distributions named in requirements, those of our own extras included."""
    found = set()
    for wanted in map(Requirement, lines):
        if wanted.name == "ilcore":
            for extra in wanted.extras:
                found |= brought_by(PROJECT["optional-dependencies"][extra])
        else:
            found.add(canonicalize_name(wanted.name))
    return found


@cache
def needs(name: str) -> tuple[str, ...]:
    """Return what a distribution needs without extras; nothing where it is not installed."""
    try:
        needed = [Requirement(line) for line in requires(name) or () if "extra ==" not in line]
    except PackageNotFoundError:
        return ()
    return tuple(canonicalize_name(each.name) for each in needed if each.marker is None or each.marker.evaluate())


@cache
def with_theirs(name: str) -> frozenset[str]:
    """Return a distribution and what it needs, as far as that is installed."""
    found, open_ones = set[str](), [name]
    while open_ones:
        found.add(one := open_ones.pop())
        open_ones += [each for each in needs(one) if each not in found]
    return frozenset(found)


def everything(lines: list[str]) -> frozenset[str]:
    return frozenset().union(*(with_theirs(name) for name in brought_by(lines)))


@cache
def installed() -> Mapping[str, list[str]]:
    return packages_distributions()


def distributions_of(package: str) -> set[str]:
    # One that is not installed is taken to be called as it is imported.
    return {canonicalize_name(name) for name in installed().get(package, [package])}


@pytest.mark.medium
def test_the_library_imports_only_what_it_depends_on() -> None:
    core = everything(PROJECT["dependencies"])
    for package in imported_by("ilcore"):
        extra = ASKED_FOR.get(package)
        brought = core if extra is None else everything(PROJECT["optional-dependencies"][extra])
        assert distributions_of(package) & brought, f"{package} is imported by ilcore, but no dependency"


@pytest.mark.parametrize("room", ["tasks", "flows"])
def test_what_tasks_and_flows_import_is_a_dependency_or_known_as_part_of_an_extra(room: str) -> None:
    core = brought_by(PROJECT["dependencies"])
    for package in imported_by(room):
        is_core = bool(distributions_of(package) & core)
        assert is_core != (package in EXTRAS), f"{package}: name its extra in flows/extras.py, or make it a dependency"


@pytest.mark.parametrize(("package", "extra"), EXTRAS.items())
def test_an_extra_brings_the_package_it_is_named_for(package: str, extra: str) -> None:
    # One that comes along with another is there as long as that one is.
    assert distributions_of(package) & everything(PROJECT["optional-dependencies"][extra])


def test_a_sentence_names_command_extra_and_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["il", "nightly", "archive.yaml"])
    told = in_words(ModuleNotFoundError("no module", name="prefect"))
    assert str(told) == "`il nightly` needs the extra run: pip install 'ilcore[run]'"
    assert told is not None
    assert told.exit_code == 2
    monkeypatch.setattr(sys, "argv", ["il", "up"])
    assert "pip install 'ilcore[platform]'" in str(in_words(ModuleNotFoundError("no module", name="mlflow")))
    # What no extra brings is a fault of ours, or a broken installation: its traceback is wanted.
    assert in_words(ModuleNotFoundError("no module", name="ilcore.planing")) is None
    assert in_words(ModuleNotFoundError("no module", name="prefect.moved")) is None
    assert in_words(ModuleNotFoundError("no module")) is None


READ_ALL = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
from tests.hidden import hide

hide(("prefect", "distributed", "mlflow", "kubernetes", "kr8s"))
for place in sys.stdin.read().split():
    spec = spec_from_file_location("read", place)
    spec.loader.exec_module(module_from_spec(spec))
"""


@pytest.mark.medium
def test_the_fast_loop_reads_no_file_that_imports_an_orchestrator() -> None:
    files = [
        path
        for path in (ROOT / "tests" / "unit").glob("test_*.py")
        if "\npytestmark = pytest.mark.medium\n" not in path.read_text()
    ]
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL], input="\n".join(map(str, files)), cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + "mark the whole file: pytestmark = pytest.mark.medium"


LIBRARY = """
import sys
from tests.hidden import hide

hide(sys.argv[1].split(","))
import numpy as np
import ilcore
from ilcore.running.carry_out import carry_out

source, target = sys.argv[2:]
assert ilcore.open_volume(source).shape[-2:] == (32, 32)
assert ilcore.restore(np.load(source), method="tv").image.shape == (32, 32)
report = carry_out(ilcore.plan_restoration(source, target, method="tv", axes="yx"))
print(report.verdict)
"""


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    place = tmp_path / "scan.npy"
    np.save(place, np.random.default_rng(0).normal(0.5, 0.1, (32, 32)).astype("float32"))
    return place


@pytest.mark.medium
def test_the_library_restores_where_no_orchestrator_is_installed(scan: Path) -> None:
    target = scan.parent / "clean.ome.zarr"
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY, ",".join(EXTRAS), str(scan), str(target)],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] in ("pass", "warn", "fail")
    assert target.exists() == (done.stdout.split()[-1] != "fail")


#: Commands with places that are right; {0} is a scan, {1} a result that is to be made, {2} an archive, {3} a run.
WITHOUT = ("info {0}", "methods tv", "completion bash", "clean {2} --dry-run", "nightly {2} --dry-run", "status {2}")
WITH = {
    "run": (
        "plan {0} {1}", "restore {0} {1}", "nightly {2}", "schedule {2}", "pretrain {0}.safetensors",
        "bench --quick --out {0}.md", "track {2}", "down",
        "resume {3}", "verify {3}", "audit {3}",
    ),
    "platform": ("up --folder {0}.il",),
    "demo": ("demo {0}.demo",),
}  # fmt: skip
#: Looked at without any extra; of a run that was cut short they say what is wrong with it.
LOOKING = ("status {3}", "qa {3}", "report {3}")


@pytest.mark.medium
def test_every_command_works_or_names_its_extra(scan: Path) -> None:
    archive = scan.parent / "archive.yaml"
    sources = f'[{{find: "{scan}", target: "{scan.parent}/out/{{stem}}.ome.zarr"}}]'
    archive.write_text(f"name: small\nbooks: {scan.parent}/books\nsources: {sources}\n")
    run = scan.parent / "begun.ome.zarr"
    (scan.parent / "begun.ome.zarr.il").mkdir()
    (scan.parent / "begun.ome.zarr.il" / "plan.yaml").write_text("")
    wanted = {
        each.format(scan, scan.parent / "clean.ome.zarr", archive, run): extra
        for extra, group in {None: WITHOUT, "none": LOOKING, **WITH}.items()
        for each in group
    }
    asked = {"hidden": list(EXTRAS), "commands": [words.split() for words in wanted]}
    done = subprocess.run(
        [sys.executable, "-m", "tests.hidden"], cwd=ROOT, input=json.dumps(asked), capture_output=True, text=True,
        timeout=200, check=True,
    )  # fmt: skip
    told = {" ".join(words): (code, sentence) for words, code, sentence in map(json.loads, done.stdout.splitlines())}
    assert told.keys() == wanted.keys()
    for words, extra in wanted.items():
        code, sentence = told[words]
        if extra is None:
            assert code == 0, (words, sentence)
        elif extra == "none":
            assert "needs the extra" not in sentence, words
        else:
            named = f"error: `il {words.split()[0]}` needs the extra {extra}: pip install 'ilcore[{extra}]'"
            assert (code, sentence.splitlines()[-1]) == (2, named), words
