"""The examples of CONTRIBUTING.md are carried out as they stand, in a copy of the package, and counted."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
BLOCK = re.compile(
    r"^(?:`(?P<path>[\w/.]+)`, (?P<count>\d+) lines?(?: more)?|[^\n`][^\n]*):\n\n```(?P<kind>\w+)\n(?P<text>.*?)```",
    re.M | re.S,
)
pytestmark = pytest.mark.medium


class Block(NamedTuple):
    path: str | None
    count: int
    kind: str
    text: str


def examples() -> dict[str, list[Block]]:
    """Return heading -> the blocks below it."""
    _, *parts = re.split(r"^### ", PAGE[PAGE.index("## Examples") :], flags=re.MULTILINE)
    return {
        part.partition("\n")[0]: [
            Block(b["path"], int(b["count"] or 0), b["kind"], b["text"]) for b in BLOCK.finditer(part)
        ]
        for part in parts
    }


def insert(file: Path, diff: str) -> int:
    """Insert the lines marked + after the unmarked line above them, and return how many they were."""
    lines, at, count = file.read_text().splitlines(), -1, 0
    for line in diff.splitlines():
        mark, words = line[0], line[1:]
        if mark == "+":
            at, count = at + 1, count + 1
            lines.insert(at, words)
        else:
            [at] = [number for number, known in enumerate(lines) if known == words]
    file.write_text("\n".join(lines) + "\n")
    return count


def test_the_page_has_its_examples() -> None:
    assert {"A method", "A stop"} <= set(examples())
    for blocks in examples().values():
        assert blocks[-1].path is None
        assert all(block.path for block in blocks[:-1])


@pytest.mark.parametrize("name", examples())
def test_an_example_does_what_it_says_in_as_many_lines_as_it_says(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "ilcore", tmp_path / "ilcore", ignore=shutil.ignore_patterns("__pycache__"))
    *changes, shown = examples()[name]
    for path, count, kind, text in changes:
        assert path is not None
        file = tmp_path / path
        if kind == "diff":
            assert insert(file, text) == count, path
        else:
            assert not file.exists()
            file.write_text(text)
            assert len(text.splitlines()) == count, path
            checked = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), str(file)]
            assert subprocess.run(checked, cwd=tmp_path, capture_output=True, check=False).returncode == 0, path
    # The copy must be found before the installed package.
    code = f"import ilcore\nassert ilcore.__file__.startswith({str(tmp_path)!r})\n{shown.text}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_example_is_not_run_where_its_line_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text("RULES = {\n}\n")
    with pytest.raises(ValueError, match="not enough values"):
        insert(file, " OTHER = {\n+    1: 2,\n")


def test_every_target_that_the_page_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z0-9-]+)`", PAGE + (ROOT / "README.md").read_text()))
    assert named <= targets
    assert {"unit", "check", "test", "ci", "e2e", "lowest", "wheel", "sbom", "changelog"} <= named
