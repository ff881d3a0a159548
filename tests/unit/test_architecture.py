"""docs/architecture.md is drawn from the code: its rooms are the packages in their order, its words are there."""

import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    part = PAGE[PAGE.index(f"\n## {heading}") :].partition("\n## ")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
    return rows[2:]


def test_the_rooms_of_the_library_are_those_of_its_contract_in_their_order() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["name"] == "inside ilcore, downhill only")
    wanted = [room for layer in layers for room in layer.split(" | ") if room not in ("fit", "fit_state")]
    assert [row[0].strip("`") for row in table("Rooms of `ilcore`")] == wanted
    assert sorted(wanted) == sorted(path.parent.name for path in (ROOT / "ilcore").glob("*/__init__.py"))


@pytest.mark.parametrize("root", ["ilcore", "tasks"])
def test_a_room_is_described_as_it_describes_itself(root: str) -> None:
    rows = table(f"Rooms of `{root}`")
    assert sorted(row[0].strip("`") for row in rows) == sorted(
        path.parent.name for path in (ROOT / root).glob("*/__init__.py")
    )
    for room, words in rows:
        # The rooms of tasks begin with Prefect's settings, which want nothing heavy.
        said = (ROOT / root / room.strip("`") / "__init__.py").read_text()
        assert said.startswith(f'"""{words}'), room


def test_every_word_is_in_the_code_where_the_page_says() -> None:
    words = table("Words")
    assert len(words) > 15
    assert [row[0] for row in words] == sorted(row[0] for row in words)
    for _, where, told in words:
        module, *names = re.fullmatch(r"`((?:[a-z_0-9]+\.)+)(.+)`", where).groups()  # type: ignore[union-attr]
        found: Any = import_module(module.rstrip("."))
        for name in names[0].split("."):
            found = getattr(found, name)
        assert told.endswith(".")
