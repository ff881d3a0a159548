"""Every method through the whole path, in every scope: what is used and recorded, and what is left when it fails."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ilcore import fit
from ilcore.grammar.stop_reason import StopReason
from ilcore.planning.plan import RestorationPlan
from ilcore.qa.verdict import QAReport
from ilcore.running import tile as tile_module
from ilcore.running import volume_model
from ilcore.running.carry_out import carry_out
from ilcore.running.ledger import Ledger
from ilcore.running.run import Run
from ilcore.running.workspace import Workspace
from tests.pretrained import small_weights
from tests.scenes import blurred, noisy, scene
from tests.standins import add_standins, assembled, planned, saved

SMALL = {
    "zs_n2n": {"stop.steps": 4, "network.width": 4},
    "dip": {"stop.steps": 3, "network.width": 4, "network.scales": 2},
    "adapted": {"stop.steps": 2, "stop.every": 1},
}
IMAGES = {
    "plane": ("yx", noisy(scene("cells", (40, 52)), std=0.08)),
    "stack": ("zyx", noisy(scene("cells", (5, 32, 36)), std=0.08)),
    "channels": ("cyx", np.stack([noisy(scene("cells", (36, 40), n), std=0.08) * (1 + 99 * n) for n in range(2)])),
    "times": ("tyx", np.stack([noisy(scene("cells", (32, 36), n), std=0.08) for n in range(3)])),
}


def wished(tmp_path: Path, image: str, method: str, **wishes: Any) -> RestorationPlan:
    axes, values = IMAGES[image]
    source = tmp_path / "source.npy"
    if not source.exists():
        saved(tmp_path, (values * 1000).astype("f4"))
    weights = {"weights": str(small_weights(tmp_path / "w.safetensors"))} if method == "adapted" else {}
    name = wishes.pop("name", "out.ome.zarr")
    core = (4, 24, 24) if image == "stack" else (1, 24, 28)
    return planned(
        source, tmp_path / name, method, axes=axes, overrides=SMALL[method], tile=core, **weights, **wishes,
    )  # fmt: skip


@pytest.fixture
def never_judged_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps restore nothing well; here it matters what is used."""
    monkeypatch.setattr(tile_module, "tile_fails", lambda *_: None)


def ledger_of(plan: RestorationPlan) -> Ledger:
    return Run.of(plan).ledger


def rows_of(plan: RestorationPlan) -> list[dict[str, Any]]:
    return list(ledger_of(plan).rows())


CASES = [
    ("tile", None, "zs_n2n", "plane"), ("tile", None, "zs_n2n", "stack"), ("tile", None, "adapted", "plane"),
    ("tile", None, "adapted", "channels"), ("tile", None, "dip", "stack"), ("tile", None, "dip", "channels"),
    ("volume", None, "zs_n2n", "channels"), ("volume", None, "zs_n2n", "times"), ("volume", None, "adapted", "stack"),
    ("volume", None, "adapted", "times"), ("volume", 2, "dip", "plane"), ("volume", 2, "zs_n2n", "stack"),
    ("volume", 2, "adapted", "channels"), ("volume", 2, "zs_n2n", "times"),
]  # fmt: skip


@pytest.mark.usefixtures("never_judged_bad")
@pytest.mark.parametrize(("scope", "steps", "method", "image"), CASES)
def test_same_plan_same_bytes_and_what_was_used_is_recorded(scope, steps, method, image, tmp_path):
    wishes = {"scope": scope, "tile_steps": steps}
    plan = wished(tmp_path, image, method, **wishes)
    carry_out(plan)
    found = assembled(plan)
    source = IMAGES[image][1] * 1000
    assert np.isfinite(found).all()
    assert not np.array_equal(found.reshape(source.shape), source)
    used = "tile" if scope == "tile" or plan.tile_steps else "volume"
    assert {(row["status"], row["used"]) for row in rows_of(plan)} == {("restored", used)}
    assert {row["steps"] > 0 for row in rows_of(plan)} <= {used == "tile", method != "adapted"}
    assert (Workspace.of(plan.target).weights / "volume.safetensors").exists() == (scope == "volume")
    if image == "channels" or method == "dip":
        again = wished(tmp_path, image, method, name="again.ome.zarr", **wishes)
        assert again.fingerprint == plan.fingerprint
        carry_out(again)
        np.testing.assert_array_equal(assembled(again), found)


def test_another_seed_gives_another_picture(tmp_path):
    first = wished(tmp_path, "plane", "zs_n2n", scope="tile", name="a")
    other = wished(tmp_path, "plane", "zs_n2n", scope="tile", name="b", seed=1)
    carry_out(first), carry_out(other)
    assert not np.array_equal(assembled(first), assembled(other))


@pytest.mark.usefixtures("never_judged_bad")
def test_pretrained_weights_may_be_used_as_they_are(tmp_path):
    plan = wished(tmp_path, "plane", "adapted", scope="volume")
    plan = plan.model_copy(update={"overrides": {"stop.steps": 0}})
    # What learns nothing is stopped by no rule, and has the version that it had before the rule changed.
    plan = plan.model_copy(update={"method_version": plan.entry.version})
    carry_out(plan)
    assert {(row["status"], row["used"]) for row in rows_of(plan)} == {("restored", "pretrained")}
    assert not (Workspace.of(plan.target).weights / "volume.safetensors").exists()


def test_a_model_of_the_volume_that_diverged_is_no_silent_success(tmp_path, monkeypatch):
    learn = fit.learn

    def diverge(*given: Any, **more: Any) -> Any:
        done = learn(*given, **more)
        return type(done)(
            **{**vars(done), "stopped": (StopReason("diverged", "diverged at step 2"),) * len(done.stopped)}
        )

    monkeypatch.setattr(fit, "learn", diverge)
    for method, steps in (("adapted", 0), ("adapted", 2), ("zs_n2n", 0)):
        plan = wished(
            tmp_path, "plane", method, scope="volume", tile_steps=steps, name=f"{method}{steps}", noise_std=80.0
        )
        report = carry_out(plan)
        assert report.verdict != "pass"
        rows = rows_of(plan)
        assert {row["status"] for row in rows} == {"fell back"}
        assert {row["used"] for row in rows} == {"pretrained" if method == "adapted" else "classical"}
        assert {row["reason"] for row in rows} == {"diverged"}
        learnt = volume_model.learnt_before(Workspace.of(plan.target))
        assert learnt is not None
        assert learnt.path is None
        assert learnt.reason.startswith("diverged")


CHAIN = ["tile", "volume", "pretrained", "classical", "raw"]


def judged_bad(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let the first so many attempts on each tile fail."""
    seen = {"count": 0}

    def fails(*_: Any) -> str | None:
        seen["count"] += 1
        return "no reason" if (seen["count"] - 1) % 4 < times else None

    monkeypatch.setattr(tile_module, "tile_fails", fails)


@pytest.mark.parametrize("failing", range(5))
def test_the_chain_of_what_is_left(failing, tmp_path, monkeypatch):
    plan = wished(tmp_path, "plane", "adapted", scope="volume", tile_steps=1)
    plan = plan.model_copy(update={"grid": plan.grid.model_copy(update={"core": (1, 40, 52), "overlap": (0, 0, 0)})})
    judged_bad(monkeypatch, failing)
    report = carry_out(plan)
    (row,) = rows_of(plan)
    assert row["used"] == CHAIN[failing]
    assert row["status"] == ("restored" if failing == 0 else "failed" if failing == 4 else "fell back")
    assert row["steps"] == 1
    if failing:
        assert report.verdict != "pass"
    if failing == 4:
        assert report.verdict == "fail"
        assert not Path(plan.target).exists()


def test_one_failed_tile_of_many_is_never_green(tmp_path, monkeypatch):
    plan = wished(tmp_path, "plane", "zs_n2n", scope="tile", noise_std=80.0)
    accepted = tile_module._accepted

    def first_fails(bench: Any, view: Any, first: Any) -> Any:
        attempt, findings, status = accepted(bench, view, first)
        return (attempt, findings, "failed") if view.tile.index == (0, 0, 0, 0) else (attempt, findings, status)

    monkeypatch.setattr(tile_module, "_accepted", first_fails)
    report = carry_out(plan)
    assert len(rows_of(plan)) > 2
    assert next(finding for finding in report.findings if finding.check == "failed tiles").verdict != "pass"
    assert report.verdict != "pass"


KINDS = ["u1", "u2", "i2", "i4", "u8", "i8", "f4", "f8"]


@pytest.mark.parametrize("kind", KINDS)
def test_when_every_tile_is_left_raw_the_result_is_the_source(kind, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    if kind[0] == "f":
        source = rng.standard_normal((40, 52)).astype(kind) * np.pi
        # A NaN with a payload of its own must come out with it.
        source.view(f"u{kind[1]}")[3, 4] = 0x7FC12345 if kind == "f4" else 0x7FF8123456789ABC
        source[5, 6], source[7, 8] = np.inf, -0.0
    else:
        limits = np.iinfo(kind)
        source = rng.integers(limits.min, limits.max, (40, 52), dtype=kind, endpoint=True)
    plan = planned(
        saved(tmp_path, source), tmp_path / "out", "zs_n2n", scope="tile", tile=(1, 16, 20),
        overrides={"stop.steps": 1, "network.width": 2},
    )  # fmt: skip
    monkeypatch.setattr(tile_module, "tile_fails", lambda *_: "no reason")
    assert carry_out(plan).verdict == "fail"
    assert {(row["status"], row["used"]) for row in rows_of(plan)} == {("failed", "raw")}
    found = assembled(plan)[0, 0, 0]
    assert found.dtype == source.dtype
    assert found.tobytes() == source.tobytes()


def test_a_halo_larger_than_the_image(tmp_path):
    plan = wished(tmp_path, "plane", "adapted", scope="tile")
    tiny = planned(
        saved(tmp_path, IMAGES["plane"][1][:9, :11], "tiny.npy"), tmp_path / "tiny", "zs_n2n", scope="tile",
        overrides={**SMALL["zs_n2n"], "network.depth": 16},
    )  # fmt: skip
    assert min(tiny.grid.halo[1:]) > 11
    carry_out(tiny)
    assert assembled(tiny).shape == (1, 1, 1, 9, 11)
    assert plan.grid.halo[1] > 0


@pytest.mark.usefixtures("never_judged_bad")
@pytest.mark.parametrize("shape", [(3, 2), (5, 7), (1, 9), (3, 1, 4)])
def test_images_of_a_few_pixels(shape, tmp_path):
    source = saved(tmp_path, (np.arange(np.prod(shape)).reshape(shape) ** 2).astype("u2"))
    weights = str(small_weights(tmp_path / "w.safetensors"))
    for method, more in (("dip", {}), ("adapted", {"weights": weights})):
        plan = planned(source, tmp_path / method, method, overrides=SMALL[method], **more)
        carry_out(plan)
        assert assembled(plan).reshape(shape).dtype == np.uint16
        assert {row["status"] for row in rows_of(plan)} == {"restored"}


@pytest.mark.parametrize("shape", [(14, 1), (1, 14), (1, 1, 5), (2, 3)])
def test_few_pixels_fall_back_like_many(shape, tmp_path, monkeypatch):
    source = saved(tmp_path, (np.arange(np.prod(shape)).reshape(shape) ** 2).astype("u2"))
    plan = planned(source, tmp_path / "out", "dip", overrides=SMALL["dip"])
    judged_bad(monkeypatch, 1)
    carry_out(plan)
    assert [row["used"] for row in rows_of(plan)] == ["classical"]


def test_a_dark_channel_does_not_hinder_the_others(tmp_path, monkeypatch):
    add_standins(monkeypatch)
    rng = np.random.default_rng(0)
    clean = blurred(rng.standard_normal((48, 48)), 8) * 2e4
    noise = rng.normal(0, 80, clean.shape)
    values = np.stack([np.full_like(clean, 7), np.full_like(clean, np.nan), clean + noise])
    plan = planned(saved(tmp_path, values), tmp_path / "out", "box", axes="cyx", sure=True, noise_std=80.0)
    report = carry_out(plan)
    found = assembled(plan)[0, :, 0]
    assert {(row["status"], row["used"]) for row in rows_of(plan)} == {("restored", "tile")}
    assert report.verdict != "fail"
    assert plan.confidence == 1
    assert np.isnan(found[1]).all()
    assert abs(found[0] - 7).max() < 1e-6
    assert np.mean((found[2] - clean) ** 2) < 0.3 * np.mean(noise**2)


@pytest.mark.usefixtures("never_judged_bad")
def test_a_scan_that_is_nearly_empty(tmp_path):
    source = np.zeros((1, 1, 700, 700), "u2")
    source[..., 690:, 690:] = noisy(scene("cells", (10, 10)), std=0.1) * 900 + 100
    plan = planned(
        saved(tmp_path, source[0, 0]), tmp_path / "out", "zs_n2n", scope="volume", tile=(1, 350, 350),
        overrides={"stop.steps": 2, "network.width": 2},
    )  # fmt: skip
    carry_out(plan)
    assert [row["status"] for row in rows_of(plan)].count("empty") == 3
    assert [row["status"] for row in rows_of(plan)].count("restored") == 1


def test_the_report_of_a_run_is_a_report(tmp_path):
    plan = wished(tmp_path, "plane", "zs_n2n", scope="tile")
    report = carry_out(plan)
    assert isinstance(report, QAReport)
    assert {finding.check for finding in report.findings} >= {"failed tiles", "noise confidence"}
