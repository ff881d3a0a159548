"""Offsets that columns or rows share: seen, subtracted, and not taken for lines of the scene."""

import numpy as np
import pytest
from scipy import ndimage

from ilcore import restore
from ilcore.benchmark.labelled import labelled
from ilcore.degradations.stripes import direction_of, offsets_of
from ilcore.planning.make import plan_restoration
from ilcore.planning.plan import RestorationPlan
from ilcore.planning.striping import stripes_in

SIDE = 256
ALONG = np.arange(SIDE)


def seen(columns, noise=8.0, seed=0):
    """Return a plane whose columns have values, with white noise."""
    return 100 + np.broadcast_to(columns, (SIDE, SIDE)) + np.random.default_rng(seed).normal(0, noise, (SIDE, SIDE))


def drawn(seed=1):
    return np.random.default_rng(seed).normal(0, 10, SIDE)


@pytest.mark.parametrize("share", [0.2, 1.0, 3.0])
def test_stripes_are_seen_in_columns_and_in_rows(share):
    plane = seen(share * drawn())
    assert direction_of([plane]) == "column"
    assert direction_of([plane.T]) == "row"


@pytest.mark.parametrize("draw", [0, 3, 5, 7])
def test_stripes_of_photographs_are_subtracted_and_little_else(draw):
    case = labelled("stripes", draw)
    noise = case.seen - case.truth
    left = noise.mean(0) - offsets_of(case.seen.astype(np.float64), "column")[0]
    assert left.std() < 0.65 * noise.mean(0).std()
    assert abs(offsets_of(case.seen.astype(np.float64), "column").mean()) < 1e-9


@pytest.mark.parametrize(
    "columns",
    [50 * np.sin(2 * np.pi * ALONG / period) for period in (2, 3, 5, 11)]
    + [50.0 * (ALONG // period % 2) for period in (1, 2, 4, 9)]
    + [100.0 * np.repeat(np.random.default_rng(2).integers(0, 2, SIDE), width)[:SIDE] for width in (1, 2, 3)]
    + [60.0 * np.isin(ALONG, [20, 90, 150, 230])],
)
def test_gratings_bars_and_single_lines_are_no_stripes(columns):
    assert direction_of([seen(columns)]) is None


@pytest.mark.parametrize("slant", [0.02, 0.1])
def test_lines_that_are_not_quite_upright_are_no_stripes(slant):
    places = (ALONG[None] + slant * ALONG[:, None]).ravel()
    plane = np.interp(places, np.arange(2 * SIDE), np.resize(drawn(), 2 * SIDE)).reshape(SIDE, SIDE)
    assert direction_of([plane + seen(0)]) is None


def test_lines_that_end_are_no_stripes():
    ended = np.where(ALONG[:, None] < SIDE // 2, drawn(), 0)
    assert direction_of([seen(ended)]) is None


def test_fibres_are_no_stripes():
    fibres = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(SIDE, SIDE)), (25, 0.3))
    assert direction_of([seen(20 * fibres / fibres.std())]) is None


@pytest.mark.medium
@pytest.mark.parametrize("label", ["textures", "checkerboards", "lines", "correlated", "clean", "borders", "counts"])
def test_no_other_labelled_image_has_stripes(label):
    for draw in range(8):
        assert direction_of([labelled(label, draw).seen.astype(np.float64)]) is None


def test_holes_neither_hide_stripes_nor_spoil_offsets():
    plane, offsets = seen(drawn()), drawn() - drawn().mean()
    holes = np.random.default_rng(4).random(plane.shape) < 0.3
    holes[:, 17] = True
    plane[holes] = np.nan
    found = offsets_of(plane, "column")[0]
    assert direction_of([plane]) == "column"
    assert np.isfinite(found).all()
    assert np.delete(found - offsets, 17).std() < 3


def test_a_plane_too_small_to_tell_has_none():
    assert direction_of([seen(drawn())[:, :40]]) is None
    assert direction_of([]) is None


def test_stripes_are_those_of_all_channels_that_vary():
    striped, dark = seen(drawn())[None], np.zeros((1, SIDE, SIDE))
    assert stripes_in([np.stack([striped, dark])]) == "column"
    assert stripes_in([np.stack([striped, seen(0)[None]])]) is None


def test_a_plan_subtracts_stripes_and_says_so(tmp_path):
    case = labelled("stripes", 2)
    np.save(tmp_path / "a.npy", case.seen)
    plan = plan_restoration(str(tmp_path / "a.npy"), str(tmp_path / "b.ome.zarr"), hours=0.01)
    assert plan.stripes == "column"
    assert "each column has an offset of its own" in plan.why
    assert plan.channels[0].verdict == "white"
    assert RestorationPlan.from_yaml(plan.to_yaml()).fingerprint == plan.fingerprint
    named = plan_restoration(str(tmp_path / "a.npy"), str(tmp_path / "b.ome.zarr"), method="nlm")
    assert named.stripes is None
    assert named.fingerprint != named.model_copy(update={"stripes": "column"}).fingerprint


@pytest.mark.medium
def test_an_array_loses_its_stripes_as_a_scan_does():
    case = labelled("stripes", 1)
    done = restore(case.seen)
    assert case.psnr(done.image) > case.psnr(case.seen) + 8
    assert "each column has an offset of its own" in done.why
    turned = restore(np.ascontiguousarray(case.seen.T))
    assert case.psnr(turned.image.T) > case.psnr(case.seen) + 8
