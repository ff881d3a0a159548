"""The null test as part of a run: same method, same weights, a twentieth of the work at most, or a sentence why not."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from ilcore.planning.cutting import voxels_read
from ilcore.planning.make import plan_restoration
from ilcore.qa.verdict import NULL_LIMITS
from ilcore.running import null_test
from ilcore.running.carry_out import carry_out
from ilcore.running.null_test import make_null_test, null_fields, null_test_before
from ilcore.running.record import read_findings
from ilcore.running.run import Run
from ilcore.running.workspace import Workspace
from tests.scenes import noisy, scene
from tests.standins import add_standins, planned, saved

CHECKS = set(NULL_LIMITS["white"])


def scan(*shape, seed=0, **law):
    return noisy(scene("cells", shape, seed), seed=seed, **(law or {"std": 0.05}))


def run(folder, values, method="nlm", **wishes):
    plan = plan_restoration(str(saved(folder, values)), str(folder / "out.ome.zarr"), method=method, **wishes)
    return plan, carry_out(plan), Workspace.of(plan.target)


def numbers_in(report):
    return {finding.check: finding.measured for finding in report.findings if finding.check in CHECKS}


SCANS = {
    "plane": (lambda: scan(256, 256), "nlm", {}),
    "counts": (lambda: scan(500, 500, gain=0.02, std=0.01), "nlm", {}),
    "rows": (lambda: scan(260, 256, std=0.1, blur=(0, 1.0)), "adapted", {"overrides": {"stop.steps": 0}}),
    "channels": (lambda: np.stack([scan(260, 256, seed=n) for n in range(2)]), "nlm", {"axes": "cyx"}),
    "stack": (lambda: scan(6, 130, 130), "adapted", {"overrides": {"stop.steps": 0}}),
    "movie": (
        lambda: np.stack([scan(130, 130, seed=n) for n in range(6)]), "adapted",
        {"axes": "tyx", "overrides": {"stop.steps": 0}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCANS)
def test_every_run_is_tried_on_noise_alone(name, tmp_path):
    values, method, wishes = SCANS[name]
    plan, report, workspace = run(tmp_path, values(), method, **wishes)
    found = null_test_before(workspace)
    assert numbers_in(report) == found.numbers
    assert set(found.numbers) == CHECKS
    assert all(finding.verdict == "pass" for finding in report.findings if finding.check in CHECKS), found
    assert [note.split(":")[0] for note in report.notes] == (["faint contrast"] if name == "rows" else [])
    assert 0 < found.share <= 0.05
    fields = null_fields(workspace)
    assert len(fields) == (3 if name == "counts" else 1)
    for each in fields:
        assert each.seen.std() == pytest.approx(1, abs=0.15)
        assert each.restored.std() < 0.4
        assert each.seen.size * len(fields) < 0.05 * voxels_read(plan.tile_grid)


def test_a_stack_is_tried_as_a_stack(tmp_path):
    plan, report, workspace = run(tmp_path, scan(8, 140, 140), "frame_pairs", overrides={"stop.steps": 3})
    found = null_test_before(workspace)
    assert plan.space == 3
    assert report.notes == ()
    assert set(found.numbers) == CHECKS
    assert found.share <= 0.05


def test_the_record_holds_number_limit_and_reason(tmp_path):
    _, report, workspace = run(tmp_path, scan(256, 256))
    record = json.loads(workspace.record.read_text())
    told = {finding["check"]: finding for finding in record["findings"]}
    assert set(told) >= CHECKS
    assert all(told[check]["allowed"] and told[check]["why"] for check in CHECKS)
    assert read_findings(workspace) == report


def test_the_same_plan_gives_the_same_numbers_and_another_seed_others(tmp_path):
    values = scan(256, 256)
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir(), (tmp_path / "c").mkdir()
    one, again = (run(tmp_path / name, values)[1] for name in "ab")
    assert numbers_in(one) == numbers_in(again)
    assert numbers_in(run(tmp_path / "c", values, seed=1)[1]) != numbers_in(one)


@pytest.mark.parametrize(
    ("method", "marked"), [("unchanged", "null noise"), ("unchanged", "null worms"), ("brighter", "null bias")]
)
def test_what_a_bad_method_makes_of_noise_takes_the_pass_away(method, marked, tmp_path, monkeypatch):
    add_standins(monkeypatch)
    plan = planned(saved(tmp_path, scan(256, 256)), tmp_path / "out.ome.zarr", method, sure=True)
    report = carry_out(plan)
    assert next(finding.verdict for finding in report.findings if finding.check == marked) != "pass"


def test_where_it_would_cost_too_much_it_says_so(tmp_path):
    _, report, workspace = run(tmp_path, scan(128, 128))
    assert numbers_in(report) == {}
    assert report.notes == (
        "null test not made: the smallest field would be 17% of the work of the run, 5% are allowed",
    )
    assert json.loads(workspace.record.read_text())["notes"] == list(report.notes)
    assert null_fields(workspace) == []


def test_empty_tiles_are_no_work_that_it_could_be_a_share_of(tmp_path):
    values = np.zeros((512, 512), np.float32)
    values[:100, :100] = scan(100, 100)
    _, report, _ = run(tmp_path, values, tile=(1, 128, 128), noise_std=0.05)
    assert "null test not made: the smallest field would be 13%" in report.notes[0]


def with_noise(plan, **law):
    return plan.model_copy(update={"channels": tuple(channel.model_copy(update=law) for channel in plan.channels)})


@pytest.mark.parametrize(
    ("law", "why"),
    [
        ({"gain": 0.0, "read_std": 0.0}, "no noise was found that could be drawn"),
        ({"verdict": "row", "lags": (0.0, 0.0, 0.0)}, "nobody measured how strongly"),
    ],
)
def test_noise_that_cannot_be_drawn_is_told(law, why, tmp_path, monkeypatch):
    add_standins(monkeypatch)
    report = carry_out(with_noise(planned(saved(tmp_path, scan(256, 256)), tmp_path / "out.ome.zarr", "box"), **law))
    assert len(report.notes) == 1
    assert why in report.notes[0]
    assert numbers_in(report) == {}


def test_what_is_copied_is_not_tried(tmp_path):
    _, report, _ = run(tmp_path, scan(256, 256), method=None, task="copy")
    assert report.notes == ("copied unchanged, as was asked for",)


def test_a_method_that_fails_on_noise_alone_does_not_cost_the_result(tmp_path, monkeypatch):
    def refuse(*given):
        raise RuntimeError("too small")

    monkeypatch.setattr(null_test, "first_attempts", refuse)
    plan, report, _ = run(tmp_path, scan(256, 256))
    assert report.notes == ("null test not made: the method cannot restore noise alone: too small",)
    assert Workspace.of(plan.target).target.exists()


def test_what_is_no_number_is_told(tmp_path, monkeypatch):
    add_standins(monkeypatch)
    report = carry_out(planned(saved(tmp_path, scan(256, 256)), tmp_path / "out.ome.zarr", "spoilt"))
    assert numbers_in(report) == {}
    assert "null test not made: " in report.notes[0]


def test_it_is_made_once(tmp_path, monkeypatch):
    plan, _, workspace = run(tmp_path, scan(256, 256))
    monkeypatch.setattr(null_test, "first_attempts", None)
    assert make_null_test(Run(plan, workspace)) == null_test_before(workspace)


def test_runs_that_were_judged_without_one_say_so(tmp_path):
    _, report, workspace = run(tmp_path, scan(128, 128))
    record = json.loads(workspace.record.read_text())
    del record["notes"]
    workspace.record.write_text(json.dumps(record))
    # As version 0.1 left it.
    assert read_findings(workspace) == replace(report, notes=())


def test_on_a_worker_it_is_the_same(tmp_path):
    from tasks.executors.cluster import Resources, open_cluster

    plan, _, workspace = run(tmp_path, scan(256, 256))
    alone = null_test_before(workspace)
    workspace.null_test.unlink()
    with open_cluster(Resources(workers=1, device="cpu")) as cluster:
        cluster.once(partial(make_null_test, Run.of(plan)))
    assert null_test_before(workspace) == alone
