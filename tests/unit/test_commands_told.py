"""Commands that people are told to give work as they are printed, whatever their paths are called."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ilcore.grammar.commands import command, quoted
from ilcore.grammar.plain_text import plain

WORDS = [
    "plain", "two words", "it's", 'a"b', "$HOME", "`id`", "a;b", "new\nline", "tab\there", "\x1b[31mred", "-dash", "*",
    "é", "back\\slash", "!x", "~", "#", "", "\u202eabc", "half\udcff", "'\n'",
]  # fmt: skip


def taken(words: str) -> list[str]:
    """Return what a shell makes of the words after the first."""
    show = (
        f"{shlex.quote(sys.executable)} -c 'import os, sys; os.write(1, b\"\\0\".join(map(os.fsencode, sys.argv[1:])))'"
    )
    done = subprocess.run(["bash", "-c", f'il() {{ {show} "$@"; }}; {words}'], capture_output=True, check=True)
    return [word.decode(errors="surrogateescape") for word in done.stdout.split(b"\0")]


@pytest.mark.parametrize("word", WORDS)
def test_a_shell_takes_back_what_was_quoted(word: str) -> None:
    assert taken(f"il {quoted(word)}") == [word]


@pytest.mark.parametrize("word", WORDS)
def test_what_is_quoted_can_be_shown_as_it_is(word: str) -> None:
    assert plain(quoted(word)) == quoted(word)


def test_an_operand_is_never_an_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert command("il resume", "-x y") == "il resume './-x y'"


def test_a_program_that_the_shell_does_not_find_is_told_by_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "my env"
    folder.mkdir()
    (folder / "il").write_text("#!/bin/sh\n")
    (folder / "il").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    assert command("il resume", "a") == f"'{folder}/il' resume a"
    monkeypatch.setenv("PATH", str(folder))
    assert command("il resume", "a") == "il resume a"


def test_what_the_command_prints_can_be_given(tmp_path: Path) -> None:
    """`il status` and the others of a run that is not over: their next command, run as printed."""
    from ilcore.planning.make import plan_restoration
    from ilcore.running.workspace import Workspace

    source, target = tmp_path / "a scan.npy", tmp_path / "it's; a result.ome.zarr"
    np.save(source, np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32))
    plan = plan_restoration(str(source), str(target), method="nlm")
    Workspace.of(target).root.mkdir()
    Workspace.of(target).plan.write_text(plan.to_yaml())
    from tasks.judge import standing

    told = standing(str(target))["state"].removeprefix("not finished: ")
    program = shlex.split(told)[0]
    assert taken(told.replace(quoted(program), "il", 1)) == ["resume", str(target)]


def test_no_command_is_put_together_without_quoting() -> None:
    """`il VERB {place}` in a string of ours is a command that a space breaks."""
    import re

    root = Path(__file__).parents[2]
    verbs = r"il [a-z]+|source|mlflow ui|dask worker|deployment run"
    told = re.compile(rf"""f["'](.*(\\n|[^a-z]))?({verbs})( [A-Z]+| --?[a-z-]+)* \{{(?!command|quoted)""")
    assert told.search('f"not finished: il resume {target}"')
    assert told.search('f"`il plan SOURCE TARGET --save {path}`"')
    wrong = [
        f"{path.relative_to(root)}:{number}"
        for package in ("ilcore", "tasks", "flows")
        for path in (root / package).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if told.search(line)
    ]
    assert wrong == []
