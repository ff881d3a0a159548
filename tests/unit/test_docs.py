"""The documentation says what is: cards match the catalogue, and the examples of the ablations run."""

import doctest
from dataclasses import replace
from pathlib import Path

import pytest

from flows.pages import methods_page
from ilcore.benchmark.score import Score
from ilcore.benchmark.table import measured
from ilcore.methods.card import card, facts
from ilcore.methods.catalogue import METHODS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_cards_are_those_of_the_catalogue():
    written = (DOCS / "methods.md").read_text()
    assert written == methods_page(str(DOCS / "benchmarks.jsonl")), "docs/methods.md is stale: run make docs"


@pytest.mark.medium
def test_the_ablations_run_as_they_are_shown():
    done = doctest.testfile(str(DOCS / "ablations.md"), module_relative=False)
    assert done.attempted > 10
    assert done.failed == 0


def test_a_card_follows_its_entry():
    entry = METHODS["zs_n2n"]
    for part in (entry.question, entry.when, entry.reference, "`stop.steps=2000`"):
        assert part in card(entry)
    assert "`stop.steps=7`" in card(entry.with_steps(7))
    assert facts(replace(entry, needs=frozenset({"noise"})))["needs"] == "noise"


def test_a_card_tells_what_was_measured_in_the_published_setting_only():
    whole = Score(key="1", method="tv", set="set12", image="a", psnr=27.0, ssim=0.8)
    volume = Score(key="2", method="zs_n2n@volume", set="fmd", image="a", psnr=33.0, ssim=0.9)
    quick = Score(key="3", method="tv", set="set12", image="a", psnr=1.0, ssim=0.1, setting="3 steps")
    knobbed = Score(key="4", method="tv:strength=2.0", set="set12", image="a", psnr=2.0, ssim=0.1)
    found = measured([whole, volume, quick, knobbed])
    assert found == {
        "tv": {"set12": "27.00 dB / 0.800"},
        "zs_n2n": {"fmd (one model per volume)": "33.00 dB / 0.900"},
    }
    assert "set12 27.00 dB / 0.800" in card(METHODS["tv"], found["tv"])
