import numpy as np
import pytest

from ilcore.qa.measures import measures
from ilcore.qa.verdict import (
    NULL_LIMITS,
    RUN_LIMITS,
    TILE_LIMITS,
    QAReport,
    judge,
    tile_fails,
    tile_verdict,
    tile_verdicts,
)
from ilcore.running.tile_record import STATUS
from tests.columns import columns_of

GOOD = {
    "status": "restored", "residual_level": 0.95, "residual_structure": 3.0, "residual_lag": 0.0, "contrast_loss": 0.0,
    "shift": 0.0, "flux_change": 0.0005, "noise_std": 0.05, "risk": 0.0005, "seam": 1.0, "clipped": 0.0,
    "faint_points": 0.0, "faint_lines": 0.0, "object_flux": 0.0, "radiometry": 0.0, "band_ratio": 0.0, "bleeding": 0.0,
    "flicker": 0.0, "ghosts": 0.0, "shown_points": 1.0, "shown_taken": 0.2, "shown_kept": 3.0,
    "residual_tails": 1.0,
}  # fmt: skip


def verdict_of(rows, clipped_share=0.0, confidence=0.9):
    return judge(measures(columns_of(rows), STATUS, clipped_share=clipped_share, confidence=confidence))


def finding(report, check):
    return next(finding for finding in report.findings if finding.check == check)


def test_a_good_run_passes_and_every_check_was_made():
    report = verdict_of([GOOD] * 20)
    assert report.verdict == "pass"
    # What is made of noise alone no tile tells.
    assert {finding.check for finding in report.findings} == set(RUN_LIMITS) - set(NULL_LIMITS["white"])


def test_no_findings_is_no_pass():
    assert QAReport(()).verdict == "fail"


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"residual_level": 0.3}, "residual level"),
        ({"residual_level": 1.6}, "residual level"),
        ({"residual_structure": 9.0}, "residual structure"),
        ({"residual_lag": 0.3}, "residual correlation"),
        ({"residual_lag": -0.4}, "residual correlation"),
        ({"residual_tails": 2.0}, "residual tails"),
        ({"residual_tails": 0.6}, "residual tails"),
        ({"contrast_loss": -0.2}, "contrast loss"),
        ({"shift": 0.3}, "shift"),
        ({"flux_change": -0.01}, "flux change"),
        ({"risk": 0.0025}, "risk over noise"),
        ({"seam": 4.0}, "seams"),
        ({"faint_points": 1.0}, "faint points"),
        ({"faint_lines": 2.0}, "faint lines"),
        ({"object_flux": 0.04}, "object flux"),
        ({"radiometry": -0.02}, "radiometry"),
        ({"band_ratio": -0.04}, "band ratio"),
        ({"bleeding": 0.06}, "bleeding"),
        ({"flicker": 0.2}, "flicker"),
        ({"ghosts": 0.3}, "ghosts"),
        ({"status": "failed"}, "failed tiles"),
        ({"status": "fell back"}, "fallen-back tiles"),
    ],
)
def test_each_number_outside_its_limits_takes_the_pass_away(change, check):
    report = verdict_of([GOOD | change] * 20)
    assert report.verdict != "pass"
    assert finding(report, check).verdict != "pass"


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"residual_level": 3.0}, "residual level"),
        ({"residual_structure": 20.0}, "residual structure"),
        ({"shift": 1.0}, "shift"),
        ({"flux_change": 0.03}, "flux change"),
        ({"risk": 0.005}, "risk over noise"),
        ({"seam": 8.0}, "seams"),
        ({"status": "failed"}, "failed tiles"),
    ],
)
def test_numbers_far_outside_refuse_the_result(change, check):
    assert finding(verdict_of([GOOD | change] * 20), check).verdict == "fail"


def test_one_failed_tile_in_a_thousand_is_never_green():
    report = verdict_of([GOOD] * 999 + [GOOD | {"status": "failed", "residual_level": 40.0}])
    assert report.verdict == "warn"
    assert finding(report, "failed tiles").measured == 0.001


def test_a_few_odd_tiles_do_not_hide_among_many():
    odd = GOOD | {"residual_structure": 11.0}
    assert verdict_of([GOOD] * 99 + [odd]).verdict == "pass"
    report = verdict_of([GOOD] * 90 + [odd] * 10)
    assert finding(report, "doubtful tiles").verdict == "warn"
    assert finding(report, "residual structure").verdict == "warn"


def test_empty_tiles_are_not_judged():
    empty = {"status": "empty", "residual_level": None, "seam": 1.0}
    assert verdict_of([empty] * 50 + [GOOD] * 2).verdict == "pass"
    assert verdict_of([empty] * 4).verdict == "pass"


def test_a_noise_estimate_nobody_can_rely_on_neither_fails_nor_passes_a_run():
    report = verdict_of([GOOD | {"residual_level": 9.0, "residual_structure": 40.0}] * 5, confidence=0.1)
    assert report.verdict == "warn"
    assert finding(report, "noise confidence").verdict == "warn"
    # What does not rest on the noise fails all the same.
    assert verdict_of([GOOD | {"shift": 2.0}] * 5, confidence=0.1).verdict == "fail"


def test_a_mean_is_compared_with_what_can_be_seen_where_there_is_almost_no_noise():
    assert tile_verdict({"flux_change": 0.001, "noise_std": 0.002})[0] == "pass"
    assert tile_verdict({"flux_change": 0.005, "noise_std": 0.002})[0] == "fail"


@pytest.mark.parametrize("name", sorted(set(TILE_LIMITS) - {"flux over noise", "risk over noise"}))
def test_a_number_that_is_not_finite_fails_a_tile(name):
    assert tile_fails({name: float("nan")}) is not None


def test_unknown_numbers_are_not_asked():
    assert tile_fails({}) is None
    assert tile_fails({"residual_level": None, "risk": float("nan"), "noise_std": 0.1}) is None


@pytest.mark.parametrize("limits", [RUN_LIMITS, TILE_LIMITS])
def test_limits_are_ordered_and_explained(limits):
    for name, limit in limits.items():
        assert limit.warns[0] <= limit.passes[0] <= limit.passes[1] <= limit.warns[1], name
        assert len(limit.why) > 15, name
        middle = np.clip(0.5 * np.sum(np.nan_to_num(limit.passes, neginf=0.0)), *limit.passes)
        assert limit.judge(float(middle)) == "pass", name


def test_every_finding_says_number_limit_and_reason():
    for found in verdict_of([GOOD] * 3).findings:
        assert np.isfinite(found.measured)
        assert found.allowed
        assert found.why


def test_many_tiles_are_judged_as_each_alone():
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(300):
        names = [name for name in GOOD if name != "status" and rng.random() < 0.3]
        change = {name: float(rng.normal(0.5, 2)) * abs(GOOD[name] or 0.1) for name in names}
        hidden = rng.choice([name for name in GOOD if name != "status"], 2)
        std = {"noise_std": abs(change.get("noise_std", GOOD["noise_std"]))}
        rows.append(GOOD | change | std | dict.fromkeys(hidden.tolist()))
    order = ["pass", "warn", "fail"]
    for confidence in (0.1, 0.9):
        wanted = [order.index(tile_verdict({"confidence": confidence} | row)[0]) for row in rows]
        table = {name: values for name, values in columns_of(rows).items() if name != "status"}
        assert tile_verdicts(table, confidence).tolist() == wanted
        assert set(wanted) == {0, 1, 2}


def test_what_chance_finds_in_a_thousand_tiles_is_no_finding():
    assert verdict_of([GOOD] * 999 + [GOOD | {"faint_points": 1.0}]).verdict == "pass"
    report = verdict_of([GOOD] * 990 + [GOOD | {"faint_points": 2.0}] * 10)
    assert finding(report, "faint points").measured == 20
    assert report.verdict == "warn"


def test_few_tiles_have_nothing_by_chance():
    report = verdict_of([GOOD] * 19 + [GOOD | {"faint_lines": 1.0}])
    assert (report.verdict, finding(report, "faint lines").measured) == ("warn", 1.0)


def test_frames_that_tiles_hold_alone_are_compared_too():
    table = {name: np.reshape(values, (5, 1, 2, 2)) for name, values in columns_of([GOOD] * 20).items()}
    rest = {"clipped_share": 0.0, "confidence": 0.9}
    assert judge(measures(table, STATUS, **rest)).verdict == "pass"
    swing = np.array([0.01, -0.01, 0.01, -0.01, 0.01]).reshape(5, 1, 1, 1)
    table["flux_change"] = np.broadcast_to(swing, table["flux_change"].shape)
    report = judge(measures(table, STATUS, **rest))
    assert finding(report, "flicker").measured == pytest.approx(0.22, abs=0.02)
    assert finding(report, "flicker").verdict == "warn"
