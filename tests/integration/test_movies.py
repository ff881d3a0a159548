"""Movies and stacks: which axis is context, and planes of different brightness."""

import numpy as np
import pytest

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput, BadPlan, RecipeError
from ilcore.planning.make import plan_restoration
from ilcore.planning.plan import RestorationPlan
from ilcore.running import tile as tile_module
from ilcore.running.carry_out import carry_out
from ilcore.running.patches import noise_of, patch_of
from ilcore.running.run import open_source
from tests.scenes import scene
from tests.standins import add_standins, assembled, planned, saved

FRAMES, SIDE = 12, 48
QUICK = {"network.inner.width": 8, "stop.steps": 60}


def movie(
    frames: int = FRAMES, side: int = SIDE, *, fading: float = 0.0, counts: float = 60.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return a noiseless movie of photon counts that fades, and a noisy one, [t, y, x]."""
    still = 0.2 + scene("cells", (side, side))
    clean = counts * still * np.exp(-fading * np.arange(frames))[:, None, None]
    return clean, np.random.default_rng(3).poisson(clean).astype("u2") + np.uint16(100)


def error_of(values: np.ndarray, clean: np.ndarray) -> float:
    return float(np.sqrt(np.mean((values.astype(float) - 100 - clean) ** 2)))


def test_frames_of_a_movie_teach_each_other(tmp_path):
    clean, noisy = movie()
    plan = planned(
        saved(tmp_path, noisy), tmp_path / "out", "frame_pairs", axes="tyx", overrides=QUICK, tile=(6, 48, 48),
        scope="volume",
    )  # fmt: skip
    assert (plan.depth, plan.space) == ("t", 3)
    assert plan.grid.time.core == 6
    assert plan.tile_grid.grid_shape == (2, 1, 1, 1)
    carry_out(plan)
    found = assembled(plan)
    assert found.shape == (FRAMES, 1, 1, SIDE, SIDE)
    assert error_of(found[:, 0, 0], clean) < 0.9 * error_of(noisy, clean)
    assert open_source(plan).axes == "tyx"


def test_more_frames_on_one_side_are_shown_as_channels(tmp_path):
    """2.5-D input: a frame and two beyond it."""
    _, noisy = movie(frames=6, side=32)
    plan = planned(
        saved(tmp_path, noisy), tmp_path / "out", "frame_pairs", axes="tyx", tile=(3, 32, 32),
        overrides={"views.neighbours": 2, "network.reach": 2, "network.inner.width": 4, "stop.steps": 3},
    )  # fmt: skip
    assert plan.grid.time.halo == 2
    assert [tile.read[0] for tile in plan.tile_grid.tiles()] == [(0, 6), (0, 6)]
    carry_out(plan)
    assert assembled(plan).shape == (6, 1, 1, 32, 32)


def test_a_method_of_pairs_says_that_it_wants_neighbours(tmp_path):
    _, noisy = movie(frames=3, side=32)
    with pytest.raises(RecipeError, match="stack of at least 2 planes"):
        planned(saved(tmp_path, noisy), tmp_path / "out", "frame_pairs", axes="tyx", depth="none")


@pytest.mark.parametrize("depth", ["z", "t", "none"])
def test_whatever_is_depth_a_method_that_changes_nothing_gives_the_source(depth, tmp_path, monkeypatch):
    """Several tiles along t, z, y and x, overlapping; to the last bit."""
    add_standins(monkeypatch)
    source = np.random.default_rng(0).integers(0, 60_000, (7, 2, 5, 40, 36)).astype("u2")
    plan = planned(saved(tmp_path, source), tmp_path / "out", "unchanged", axes="tczyx", depth=depth, tile=(3, 16, 18))
    assert plan.tile_grid.grid_shape == {"z": (7, 2, 3, 2), "t": (3, 5, 3, 2), "none": (7, 5, 3, 2)}[depth]
    carry_out(plan)
    assert assembled(plan).tobytes() == source.tobytes()


def test_plane_by_plane_a_stack_is_restored_as_a_movie_is(tmp_path):
    _, noisy = movie(frames=4, side=40)
    results = []
    for axes in ("zyx", "tyx"):
        plan = planned(
            saved(tmp_path, noisy), tmp_path / axes, "nlm", axes=axes, depth="none", tile=(1, 24, 24), noise_std=6.0
        )
        assert plan.space == 2
        carry_out(plan)
        results.append(assembled(plan).reshape(noisy.shape))
    assert not np.array_equal(results[0], noisy)
    np.testing.assert_array_equal(*results)


def test_a_movie_with_overlap_in_time_has_no_seam_there(tmp_path, monkeypatch):
    add_standins(monkeypatch)
    _, noisy = movie(frames=9, side=24)
    plan = planned(saved(tmp_path, noisy), tmp_path / "out", "box", axes="tyx", depth="t", tile=(3, 24, 24))
    whole = planned(saved(tmp_path, noisy), tmp_path / "one", "box", axes="tyx", depth="t", tile=(9, 24, 24))
    carry_out(plan)
    carry_out(whole)
    np.testing.assert_array_equal(assembled(plan), assembled(whole))


def test_fading_is_measured_and_recorded(tmp_path):
    _, noisy = movie(frames=20, fading=0.1)
    plan = planned(saved(tmp_path, noisy), tmp_path / "out", "nlm", axes="tyx", per_plane="t")
    assert plan.planes is not None
    found = np.array(plan.planes.brightness[0])
    wanted = np.exp(-0.1 * np.arange(20))
    # `low` is not quite the 100 of darkness, so the ratio is a little off where little light is left.
    np.testing.assert_allclose(found / found[0], wanted, rtol=0.2)
    assert np.all(np.diff(found) < 0)
    assert "each frame along t is divided by its own brightness" in plan.why
    assert RestorationPlan.from_yaml(plan.to_yaml()) == plan
    assert plan.model_copy(update={"planes": None}).fingerprint != plan.fingerprint


def test_frames_of_any_brightness_look_alike_to_a_method_and_their_noise_is_known(tmp_path):
    clean, noisy = movie(frames=10, side=96, fading=0.15, counts=200.0)
    plan = planned(saved(tmp_path, noisy), tmp_path / "out", "nlm", axes="tyx", per_plane="t", tile=(1, 96, 96))
    tiles = [plan.tile_grid.tile((t, 0, 0, 0)) for t in (0, 9)]
    first, last = (patch_of(open_source(plan), tile.read, plan) for tile in tiles)
    assert first.seen.mean() == pytest.approx(last.seen.mean(), rel=0.02)
    (channel,) = plan.channels
    for number, frame in ((0, first), (9, last)):
        span = (channel.high - channel.low) * float(frame.brightness[0, 0, 0, 0])
        noise = (frame.raw[0, 0] - 100 - clean[number]) / span
        level = float((clean[number].mean() + 100 - channel.low) / span)
        assert noise_of([frame], plan)[0].std_at(level) == pytest.approx(noise.std(), rel=0.2)


DIVIDED = [("tyx", "t", None), ("tyx", "t", "t"), ("zyx", "z", "z"), ("zyx", "z", "none")]


@pytest.mark.parametrize(("axes", "per_plane", "depth"), DIVIDED)
def test_dividing_by_brightness_loses_nothing(axes, per_plane, depth, tmp_path, monkeypatch):
    add_standins(monkeypatch)
    _, noisy = movie(frames=6, side=40, fading=0.3)
    plan = planned(
        saved(tmp_path, noisy), tmp_path / "out", "unchanged", axes=axes, per_plane=per_plane, depth=depth,
        tile=(2, 20, 20),
    )  # fmt: skip
    carry_out(plan)
    assert assembled(plan).tobytes() == noisy.tobytes()


def test_a_movie_that_fades_is_restored_to_its_end(tmp_path, monkeypatch):
    """What frames teach each other is what does not fade."""
    monkeypatch.setattr(tile_module, "tile_fails", lambda *_: None)
    clean, noisy = movie(frames=12, side=40, fading=0.15, counts=200.0)
    source, errors = saved(tmp_path, noisy), {}
    for per_plane in (None, "t"):
        plan = planned(
            source, tmp_path / f"{per_plane}", "frame_pairs", axes="tyx", per_plane=per_plane,
            overrides=QUICK | {"stop.steps": 150}, tile=(6, 40, 40), scope="volume",
        )  # fmt: skip
        carry_out(plan)
        errors[per_plane] = error_of(assembled(plan)[-3:, 0, 0], clean[-3:])
    assert errors["t"] < error_of(noisy[-3:], clean[-3:])
    assert errors["t"] < errors[None]


def test_the_published_movie_says_what_its_axes_are(tmp_path):
    _, noisy = movie(frames=8, side=32)
    plan = plan_restoration(
        str(saved(tmp_path, noisy)), str(tmp_path / "out.ome.zarr"), method="nlm", scope="tile", axes="tyx", depth="t",
    )  # fmt: skip
    if carry_out(plan).verdict == "fail":
        pytest.fail("a plain movie must pass")
    result = open_volume(tmp_path / "out.ome.zarr")
    assert (result.axes, result.shape) == ("tyx", (8, 1, 1, 32, 32))


def test_what_cannot_be_depth_is_refused(tmp_path):
    source = saved(tmp_path, np.random.default_rng(0).normal(size=(5, 40, 40)))
    with pytest.raises(BadInput, match="depth t wants more than one frame along t"):
        planned(source, tmp_path / "out", "nlm", axes="zyx", depth="t")
    with pytest.raises(BadInput, match="more than one frame along t"):
        planned(source, tmp_path / "out", "nlm", axes="zyx", per_plane="t")
    with pytest.raises(BadInput, match="depth must be z, t or none"):
        planned(source, tmp_path / "out", "nlm", axes="zyx", depth="x")


def test_a_plan_edited_by_hand_is_checked(tmp_path):
    _, noisy = movie(frames=6, side=32)
    plan = planned(saved(tmp_path, noisy), tmp_path / "out", "nlm", axes="tyx", depth="t", per_plane="t")
    content = plan.model_dump(mode="json")
    content["planes"]["brightness"][0].pop()
    with pytest.raises(BadPlan, match="planes.brightness must hold"):
        RestorationPlan.of(content)
    with pytest.raises(BadPlan, match="single frames where depth is none"):
        RestorationPlan.of(plan.model_dump(mode="json") | {"depth": "none"})
