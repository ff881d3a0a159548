"""The range of a check outside of which a result is refused can be another one than the usual."""

import math
from pathlib import Path

import numpy as np
import pytest

from flows.options import gate
from ilcore.archives.policy import read_archive
from ilcore.grammar.errors import BadInput
from ilcore.qa.verdict import judge
from ilcore.running.carry_out import carry_out
from tests.standins import planned


def test_a_stricter_range_refuses() -> None:
    measured = {"seams": 2.0, "noise confidence": 1.0}
    assert judge(measured).verdict == "pass"
    report = judge(measured, {"seams": (0.0, 1.5)})
    assert report.verdict == "fail"
    [found] = [each for each in report.findings if each.check == "seams"]
    assert "1.5" in found.allowed


def test_a_wider_range_lets_through_as_doubtful() -> None:
    measured = {"seams": 8.0, "noise confidence": 1.0}
    assert judge(measured).verdict == "fail"
    assert judge(measured, {"seams": (0.0, 10.0)}).verdict == "warn"


def test_who_sets_a_range_is_heard_however_unsure_the_noise_is() -> None:
    measured = {"residual level": 3.0, "noise confidence": 0.05}
    assert judge(measured).verdict == "warn"
    assert judge(measured, {"residual level": (0.0, 2.0)}).verdict == "fail"


def test_words_of_the_command_line() -> None:
    assert gate(["seams=0:3", "brightness=:0.1", "noise confidence=0.5:"]) == {
        "seams": (0.0, 3.0), "brightness": (-math.inf, 0.1), "noise confidence": (0.5, math.inf),
    }  # fmt: skip
    assert gate(None) == {}


@pytest.mark.parametrize("word", ["seams", "seams=3", "seams=a:b"])
def test_other_words_are_told_the_form(word: str) -> None:
    with pytest.raises(BadInput, match="CHECK=LOW:HIGH"):
        gate([word])


def archive(folder: Path, limits: str) -> Path:
    path = folder / "a.yaml"
    path.write_text(
        f"name: a\nbooks: books\nsources:\n  - {{find: '*.npy', target: '{{stem}}', restore: {{gate: {limits}}}}}\n"
    )
    return path


def test_an_archive_has_its_own(tmp_path: Path) -> None:
    [source] = read_archive(archive(tmp_path, "{seams: [null, 3]}")).sources
    assert source.options.gate == {"seams": (-math.inf, 3.0)}


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ("{hems: [0, 3]}", "gate knows .*seams"),
        ("{seams: [3, 0]}", "low <= high"),
        ("{seams: 3}", "low, high"),
        ("[1]", "low, high"),
    ],
)
def test_an_archive_that_asks_for_nonsense_is_told(tmp_path: Path, limits: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read_archive(archive(tmp_path, limits))


@pytest.mark.medium
def test_a_run_is_held_to_the_gate_of_its_plan_and_only_judged_again(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).normal(size=(64, 64)))
    plan = planned(tmp_path / "scan.npy", tmp_path / "out.ome.zarr", "nlm", axes="yx", gate={"brightness": (5.0, 6.0)})
    assert carry_out(plan).verdict == "fail"
    assert not Path(plan.target).exists()
    again = plan.model_copy(update={"gate": {}})
    assert again.fingerprint == plan.fingerprint
    assert carry_out(again).verdict != "fail"
    assert Path(plan.target).exists()
