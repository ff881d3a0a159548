"""What the tests of one function at a time share."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Let `make unit` not even read a file that is medium as a whole: what it imports takes as long as many tests."""
    is_left_out = (
        "not medium" in config.option.markexpr
        and collection_path.suffix == ".py"
        and "\npytestmark = pytest.mark.medium\n" in collection_path.read_text()
    )
    return True if is_left_out else None


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a package look as if it were not installed."""

    def hide(name: str) -> None:
        for loaded in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
            monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setitem(sys.modules, name, None)

    return hide
