"""Whole runs on images of which it is known what must happen to them: nothing that is made worse passes."""

import pytest

from ilcore.benchmark.labelled import CLASSES
from ilcore.benchmark.labelled_runs import WORTHWHILE, counts, run_of, runs
from ilcore.benchmark.lines import Lines

#: Classes of which there is nothing to restore.
KEPT = ("labels", "masks", "clean", "denoised")


@pytest.mark.slow
@pytest.mark.parametrize("label", CLASSES)
def test_nothing_worse_passes_and_what_can_be_gained_is(label):
    found = run_of(label, 0)
    assert not found.passes_worse
    assert not found.publishes_worse
    if label in KEPT:
        assert (found.gain_db, found.verdict) == (0.0, "pass")
    assert not found.misses_gain, f"{found.gain_db:.1f} of {found.best_db:.1f} dB: {found.why}"


@pytest.mark.slow
@pytest.mark.parametrize("draw", [1, 2, 4])
def test_a_texture_is_never_made_worse(draw):
    found = run_of("textures", draw)
    assert found.gain_db >= 0
    assert found.best_db < WORTHWHILE or found.gain_db > 0


def test_runs_are_kept_and_gone_on_with(tmp_path):
    file = Lines(tmp_path / "runs.jsonl")
    first = list(runs(["labels"], [0], file))
    file.path.write_text(file.path.read_text() + '{"label": "lab')
    again = list(runs(["labels", "masks"], [0], file))
    assert again[0] == first[0]
    assert len(list(file.read())) == 2
    assert counts(again) == {
        "runs": 2, "worse and passed": 0, "much worse and published": 0, "worthwhile": 0, "gain missed": 0,
    }  # fmt: skip
