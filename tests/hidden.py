"""Packages looked for as if they were not installed, in a process of its own: `python -m tests.hidden`.

Standard input holds the names of the packages and lists of words, one for each command of `il` that is to be given.
"""

import json
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class Hidden(MetaPathFinder):
    """Finds nothing of some packages."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def hide(names: Iterable[str]) -> None:
    """Make packages unavailable from now on."""
    sys.meta_path.insert(0, Hidden(names))


def _answers(commands: list[list[str]]) -> None:
    from typer.testing import CliRunner

    from flows.cli import app

    for words in commands:
        sys.argv = ["il", *words]
        told = CliRunner().invoke(app, words)
        is_ours = told.exception is None or isinstance(told.exception, SystemExit)
        trace = "" if is_ours else "".join(traceback.format_exception(told.exception))
        print(json.dumps([words, told.exit_code, told.stderr + trace]))


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    hide(asked["hidden"])
    _answers(asked["commands"])
