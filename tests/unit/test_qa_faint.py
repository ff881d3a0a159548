"""Faint structure: what was taken away and is no noise is found; what noise and good denoisers leave is not."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.restoration import denoise_nl_means

from ilcore.grammar.problem import Noise
from ilcore.qa.chances import by_chance, chance_of
from ilcore.qa.faint import MOST, counted, limit_of, search
from ilcore.qa.faint_family import Family
from tests.scenes import noisy, scene

SIDE, STD, LEVEL = 128, 0.05, 0.3
FLAT = np.full((SIDE, SIDE), LEVEL)
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]


def found(observed, restored, noise=None, trusted=None, **more):
    return looked(observed, restored, noise, trusted, **more).traces


def looked(observed, restored, noise=None, trusted=None, **more):
    trusted = np.ones(observed.shape, bool) if trusted is None else trusted
    return search(
        observed[None, None], restored[None, None], trusted[None, None], [noise or Noise(read_std=STD)], **more
    )


def grain(seed=0, blur=0.0):
    return noisy(np.zeros((SIDE, SIDE), np.float32), std=STD, seed=seed, blur=blur).astype(np.float64)


def dot(centre, width):
    if not width:
        return ((centre[0] == ROWS) & (centre[1] == COLUMNS)).astype(float)
    return np.exp(-((ROWS - centre[0]) ** 2 + (COLUMNS - centre[1]) ** 2) / (2 * width**2))


def near_to(centre, traces):
    return [trace for trace in traces if np.hypot(trace.place[2] - centre[0], trace.place[3] - centre[1]) < 4]


def of_response(shape, times):
    """Scale a shape so that its matched filter answers so many noise standard deviations."""
    return times * STD * shape / np.sqrt((shape**2).sum())


def line(centre, length, angle, width=0.5):
    along = (COLUMNS - centre[1]) * np.cos(angle) + (ROWS - centre[0]) * np.sin(angle)
    across = (ROWS - centre[0]) * np.cos(angle) - (COLUMNS - centre[1]) * np.sin(angle)
    return ((abs(along) <= length / 2) & (abs(across) <= width)).astype(float)


@pytest.mark.medium
@pytest.mark.parametrize("chance", [0.5, 0.05])
def test_noise_alone_shows_something_as_rarely_as_was_asked(chance):
    shown = [bool(found(FLAT + grain(seed), FLAT, chance=chance)) for seed in range(60)]
    assert np.mean(shown) <= chance + 0.1
    assert np.mean(shown) >= chance / 4 - 0.03


@pytest.mark.medium
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("width", [0, 0.7, 1.0, 1.5, 2.0])
def test_a_point_of_any_size_is_found_where_it_was(width, sign):
    missed = 0
    for seed in range(20):
        centre = np.random.default_rng(seed).integers(10, SIDE - 10, 2)
        lost = sign * of_response(dot(centre, width), 8)
        near = near_to(centre, found(FLAT + lost + grain(seed), FLAT))
        assert all(np.sign(trace.strength) == sign for trace in near)
        missed += not any(trace.kind == "point" for trace in near)
    assert missed <= 3


@pytest.mark.medium
@pytest.mark.parametrize("share", [0.5, 0.75, 1.0])
def test_a_point_that_lost_half_of_its_contrast_is_found(share):
    missed = 0
    for seed in range(20):
        shape = of_response(dot((60, 70), 1.0), 10)
        traces = near_to((60, 70), found(FLAT + shape + grain(seed), FLAT + (1 - share) * shape))
        missed += not traces
        assert all(trace.kept == pytest.approx(1 - share, abs=0.2) for trace in traces)
    assert missed <= (2 if share == 0.5 else 0)


@pytest.mark.medium
@pytest.mark.parametrize("times", [3, 6, 20, 100])
def test_points_that_were_kept_are_not_reported(times):
    shape = sum(of_response(dot((y, x), 1.0), times) for y in range(15, SIDE, 20) for x in range(15, SIDE, 20))
    shown = [bool(found(FLAT + shape + grain(seed), FLAT + 0.95 * shape)) for seed in range(20)]
    # A twentieth of a strong point is a point.
    assert np.mean(shown) == 1 if times == 100 else np.mean(shown) <= 0.2


@pytest.mark.medium
@pytest.mark.parametrize("angle", np.linspace(0, np.pi, 8, endpoint=False))
def test_a_line_of_three_noise_std_is_found_with_its_direction(angle):
    missed = 0
    for seed in range(6):
        lost = 3 * STD * line((60, 66), 30, angle)
        lines = [trace for trace in found(FLAT + lost + grain(seed), FLAT) if trace.kind == "line"]
        missed += not lines
        for trace in lines:
            off = abs(trace.angle - angle) % np.pi
            assert min(off, np.pi - off) < 0.35
            assert np.hypot(trace.place[2] - 60, trace.place[3] - 66) < 20
    assert missed <= 1


def test_half_of_a_line_is_found():
    lost = 3 * STD * line((60, 66), 40, 0.4)
    shown = [counted(looked(FLAT + lost + grain(seed), FLAT + 0.5 * lost))["faint_lines"] > 0 for seed in range(20)]
    assert np.mean(shown) >= 0.9


def test_a_hot_pixel_is_a_point_and_no_line():
    lost = 40 * STD * dot((50, 50), 0)
    numbers = counted(looked(FLAT + lost + grain(), FLAT))
    assert (numbers["faint_points"], numbers["faint_lines"]) == (1, 0)


def test_pieces_of_one_line_are_few_findings():
    lost = 5 * STD * line((64, 64), 100, 0.7)
    numbers = counted(looked(FLAT + lost + grain(), FLAT))
    assert 5 <= numbers["faint_lines"] <= 20
    assert numbers["faint_points"] <= 2


@pytest.mark.medium
@pytest.mark.parametrize(
    ("blur", "correlation"), [(0.7, "isotropic"), (1.5, "isotropic"), ((0, 1.5), "row"), (0.7, "white")]
)
def test_correlated_noise_is_no_structure_even_if_it_was_taken_for_white(blur, correlation):
    noise = Noise(read_std=STD, correlation=correlation)
    assert sum(bool(found(FLAT + grain(seed, blur), FLAT, noise)) for seed in range(12)) <= 1


@pytest.mark.medium
@pytest.mark.parametrize("off", [0.6, 0.8])
def test_noise_that_was_underestimated_is_no_structure(off):
    noise = Noise(read_std=STD * off)
    assert sum(bool(found(FLAT + grain(seed), FLAT, noise)) for seed in range(30)) <= 4


@pytest.mark.medium
@pytest.mark.parametrize("counts", [0.5, 2.0, 20.0])
def test_counts_are_no_structure_however_few(counts):
    gain = LEVEL / counts
    shown = [
        bool(found(noisy(FLAT, gain=gain, std=0.1 * gain, seed=seed), FLAT, Noise(gain=gain, read_std=0.1 * gain)))
        for seed in range(20)
    ]
    assert np.mean(shown) <= 0.1


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["edges", "cells", "filaments", "coast"])
@pytest.mark.parametrize("std", [0.02, 0.05, 0.1])
def test_what_a_good_denoiser_leaves_of_edges_is_not_reported(kind, std):
    clean = scene(kind, (SIDE, SIDE), 3)
    observed = noisy(clean, std=std, seed=3).astype(np.float64)
    restored = denoise_nl_means(observed, patch_size=5, patch_distance=6, h=0.6 * std, sigma=std)
    assert len(found(observed, restored, Noise(read_std=std))) <= 1
    assert found(observed, clean.astype(np.float64), Noise(read_std=std)) == ()


def test_smoothing_that_takes_lines_away_is_reported():
    clean = scene("filaments", (SIDE, SIDE), 3)
    observed = noisy(clean, std=STD, seed=3).astype(np.float64)
    numbers = counted(looked(observed, ndimage.gaussian_filter(observed, 2)))
    assert numbers["faint_lines"] > 5


def test_what_is_no_data_is_not_searched():
    trusted = np.ones((SIDE, SIDE), bool)
    trusted[30:60, 40:90] = False
    observed, restored = FLAT + grain(), FLAT.copy()
    observed[~trusted], restored[~trusted] = 30.0, -20.0
    assert found(observed, restored, trusted=trusted) == ()
    observed[100, 100] += 12 * STD
    assert counted(looked(observed, restored, trusted=trusted))["faint_points"] == 1


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 40), (5, 5), (16, 9)])
def test_tiny_planes_are_searched_without_a_fuss(shape):
    flat = np.full(shape, LEVEL)
    assert len(found(noisy(flat.astype(np.float32), std=STD), flat)) <= 1


def test_channels_and_planes_are_told_apart():
    observed = np.full((2, 3, SIDE, SIDE), LEVEL) + np.stack([[grain(3 * c + z) for z in range(3)] for c in range(2)])
    observed[1, 2, 40, 50] += 12 * STD
    trusted = np.ones(observed.shape, bool)
    traces = search(observed, np.full_like(observed, LEVEL), trusted, [Noise(read_std=STD)] * 2).traces
    assert [trace.place for trace in traces] == [(1, 2, 40, 50)]


def test_the_number_of_findings_is_bounded():
    stripes = 10 * STD * (COLUMNS % 4 == 0)
    assert len(found(FLAT + stripes + grain(), FLAT)) <= 2 * MOST


def test_more_places_ask_for_stronger_evidence():
    assert limit_of(100) < limit_of(10_000) < limit_of(10**6) < 6
    assert chance_of(100, 100) == 0.05
    assert chance_of(100, 1000) == pytest.approx(0.005)
    assert chance_of(1, 10**9) == 0.001
    assert (by_chance(1), by_chance(50), by_chance(1000)) == (0, 0, 3)
    assert by_chance(10**6) == pytest.approx(1064, abs=2)


def dots(count, times, width, seed):
    """Return faint dots that lie apart, each of a response."""
    places = np.random.default_rng(seed).permutation([(y, x) for y in range(14, SIDE, 20) for x in range(14, SIDE, 20)])
    return sum(of_response(dot(tuple(place), width), times) for place in places[:count])


def share_lost(count, lost, width, seed, *, times=6.0):
    """Return the share of contrast that dots lost at least; None where none is seen."""
    shape = dots(count, times, width, seed)
    numbers = counted(looked(FLAT + shape + grain(seed), FLAT + (1 - lost) * shape))
    return Family.of(numbers).lost


@pytest.mark.medium
@pytest.mark.parametrize("width", [0, 0.7, 1.5])
def test_a_family_of_dots_that_lost_half_is_told(width):
    told = [share_lost(6, 0.5, width, seed) for seed in range(20)]
    assert np.mean([lost is not None and lost > 0.2 for lost in told]) >= 0.95


@pytest.mark.medium
@pytest.mark.parametrize("width", [0, 0.7, 1.5])
def test_a_family_of_dots_that_was_kept_is_not_blamed(width):
    told = [share_lost(6, 0.0, width, seed, times=4.0) for seed in range(20)]
    assert all(lost is not None and lost < 0.2 for lost in told)


def test_noise_alone_is_no_family_of_dots():
    told = [Family.of(counted(looked(FLAT + grain(seed), FLAT + 0.15 * grain(seed)))).lost for seed in range(20)]
    assert np.mean([lost is not None and lost > 0.2 for lost in told]) <= 0.05


def test_tiles_are_one_family_and_tiles_that_were_not_asked_do_not_count():
    one = Family(4, 8.0, 12.0)
    columns = {"shown_points": np.array([4, 4, np.nan]), "shown_taken": np.array([8, 8, np.nan]),
               "shown_kept": np.array([12, 12, np.nan])}  # fmt: skip
    assert Family.of(columns) == one + one
    assert (one + one).lost > one.lost
    assert Family().lost is None
    assert Family.of({}).lost is None
