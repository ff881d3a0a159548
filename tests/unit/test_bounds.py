"""A bound is made of what tiles tell of their error, or a sentence says why there is none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from ilcore.degradations.flat_detail import flat_detail
from ilcore.grammar.problem import Noise
from ilcore.planning.plan import RestorationPlan
from ilcore.qa.bounds import COLUMNS, Bound, Circumstances, bound_of, tile_bounds
from ilcore.qa.erring import Law, error_sums, flat_sums, moved, slope_of
from ilcore.running import own_error
from ilcore.running.bounding import bound_of_run, error_map
from ilcore.running.carry_out import carry_out
from ilcore.running.record import read_findings
from ilcore.running.run import Run
from ilcore.running.workspace import Workspace
from tests.scenes import scene
from tests.standins import add_standins, assembled, planned, saved

STD, SIDE = 0.1, 128
SURE = Circumstances(is_told=True, is_white=True, confidence=1.0)
MEASURED = replace(SURE, is_told=False, confidence=0.8)
NOBODY = np.zeros((1, 1, 2, 2), bool)


def observed(shape: tuple[int, ...] = (SIDE, SIDE), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    clean = scene("cells", shape, seed).astype(np.float64)
    return clean, (clean + STD * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def smooth(seen: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(seen, (0, 0, 0.8, 0.8)), np.float32)


def columns_of(seed: int, noise: Noise | None = None) -> tuple[float, dict[str, float]]:
    """Return the true error of a smoothed scene, and its columns."""
    clean, seen = observed(seed=seed)
    laws, values, inside = (noise or Noise(read_std=STD),), seen[None, None], np.ones((1, 1, SIDE, SIDE), bool)
    image, law = smooth(values), Law.of(values, laws)
    signs = np.sign(np.random.default_rng(seed + 99).standard_normal(values.shape))
    slope = slope_of(image, smooth(moved(values, law, signs)), law, signs, inside)
    told = error_sums(values, image, laws, inside, [slope]) | flat_sums(values, inside, laws) | {"cut_share": 0.0}
    return float(np.mean((image - clean) ** 2)), told


@pytest.fixture(scope="module")
def tiles() -> tuple[list[float], dict[str, np.ndarray]]:
    errors, each = zip(*(columns_of(seed) for seed in range(4)), strict=True)
    return list(errors), {name: np.array([one[name] for one in each]).reshape(1, 1, 2, 2) for name in COLUMNS}


def test_the_estimate_is_the_error_within_its_standard_error(tiles: Any) -> None:
    errors, table = tiles
    bound = bound_of(table, SURE, raw=NOBODY)
    assert bound.error is not None
    assert abs(bound.error.mean - np.mean(errors)) < 3 * bound.error.variance**0.5
    assert bound.error.variance**0.5 < 0.05 * np.mean(errors)
    assert np.mean(errors) < bound.error.most
    assert bound.least_db is not None
    assert bound.expected_db is not None
    assert bound.least_db < bound.expected_db
    assert bound.sentence.startswith(f"PSNR at least {bound.least_db:.1f} dB with 95 %, {bound.expected_db:.1f} dB")


def test_a_level_that_is_measured_makes_the_bound_looser_and_the_sentence_says_how_sure_it_is(tiles: Any) -> None:
    told, measured = (bound_of(tiles[1], about, raw=NOBODY) for about in (SURE, MEASURED))
    assert told.least_db is not None
    assert measured.least_db is not None
    assert measured.least_db < told.least_db
    assert "as it was told" in told.sentence
    assert "measured in flat places to" in measured.sentence


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_flat_places_put_a_level_right_that_was_measured_badly(factor: float) -> None:
    """Without it a noise taken for a tenth too strong hides most of the error."""
    each = [columns_of(seed, Noise(read_std=STD * factor**0.5)) for seed in range(6)]
    table = {name: np.array([one[name] for _, one in each]) for name in COLUMNS}
    nobody, error = np.zeros(6, bool), float(np.mean([true for true, _ in each]))
    bound, blind = (bound_of(table, about, raw=nobody) for about in (MEASURED, SURE))
    assert bound.error is not None
    assert abs(bound.error.mean - error) < 2.5 * bound.error.variance**0.5
    assert bound.level == pytest.approx(1 / factor, abs=4 * bound.level_doubt)
    assert blind.error is None or abs(blind.error.mean - error) > 5 * blind.error.variance**0.5


def test_of_counts_a_level_above_the_believed_one_is_taken_with_caution(tiles: Any) -> None:
    """Fine texture in bright places passes for stronger noise, and stronger noise for a better result."""
    for held, cautious in ((1.08, True), (0.94, False)):
        bands = {name: np.full(NOBODY.shape, held) for name in ("flat_diagonal", "flat_rows", "flat_columns")}
        table = tiles[1] | bands | {"flat_fourth": np.full(NOBODY.shape, 3 * held**2)}
        white, counts = (bound_of(table, about, raw=NOBODY) for about in (MEASURED, replace(MEASURED, counts=1e-3)))
        assert white.level == pytest.approx(held)
        assert counts.level == pytest.approx(held - cautious * counts.level_doubt / 2)
        assert counts.error is not None
        assert white.error is not None
        assert (counts.error.most > white.error.most) == cautious


def test_a_tile_that_was_kept_has_the_error_of_its_noise(tiles: Any) -> None:
    table = {name: values.copy() for name, values in tiles[1].items()}
    for name in ("err_slope", "err_slope_var", "err_loss_var"):
        table[name][0, 0, 0, 0] = np.nan
    assert "cannot be estimated" in bound_of(table, SURE, raw=NOBODY).sentence
    kept = NOBODY.copy()
    kept[0, 0, 0, 0] = True
    bound = bound_of(table, SURE, raw=kept)
    assert bound.error is not None
    rest = (table["err_excess"] + 2 * table["err_slope"]).ravel()[1:]
    assert bound.error.mean == pytest.approx((STD**2 + rest.sum()) / 4, rel=1e-6)


@pytest.mark.parametrize(
    ("about", "columns", "why"),
    [
        ({"is_white": False}, {}, "the noise is correlated"),
        ({"confidence": 0.1}, {}, "not certain enough"),
        ({"counts": 0.05}, {}, "counts a voxel"),
        ({"objection": "holes were filled"}, {}, "holes were filled"),
        ({}, {"cut_share": 0.01}, "limit of the detector"),
        ({}, {"err_loss_var": np.nan}, "cannot be estimated"),
        ({}, {"err_voxels": 0.0}, "no tile holds data"),
        ({}, {"flat_diagonal": 0.7}, "less noise than was told"),
        ({"is_told": False}, {"flat_places": 20.0}, "too little of the scan is flat"),
        ({"is_told": False}, {"flat_diagonal": 1.4, "flat_rows": 1.4, "flat_columns": 1.4}, "1.40 times the noise"),
        ({"is_told": False}, {"flat_rows": 1.5}, "fine texture"),
        ({"is_told": False}, {"flat_fourth": 5.0}, "fine texture"),
        ({}, {"err_excess": -0.02}, "below zero"),
    ],
)
def test_where_an_assumption_fails_a_sentence_says_which(
    tiles: Any, about: dict[str, Any], columns: dict[str, float], why: str
) -> None:
    table = tiles[1] | {name: np.full((1, 1, 2, 2), value) for name, value in columns.items()}
    bound = bound_of(table, replace(SURE, **about), raw=NOBODY)
    assert (bound.error, bound.least_db, bound.expected_db) == (None, None, None)
    assert bound.sentence.startswith("No bound on the error: ")
    assert why in bound.sentence
    assert np.isnan(tile_bounds(table, bound, SURE, raw=NOBODY)).all()


def test_the_map_bounds_every_tile_in_grey_levels(tiles: Any) -> None:
    errors, table = tiles
    bound = bound_of(table, SURE, raw=NOBODY)
    most = tile_bounds(table, bound, replace(SURE, grey_levels=200.0), raw=NOBODY)
    true = 200 * np.sqrt(np.array(errors)).reshape(most.shape)
    assert (true < most).sum() >= 3
    assert (most < 1.2 * true).all()


def test_the_level_of_flat_places_is_unbiased_though_they_are_chosen_as_flat() -> None:
    """Blocks chosen for their small variance are two to six per cent too calm; these are not."""
    levels, doubts = [], []
    for seed in range(24):
        _, seen = observed(seed=seed)
        found = flat_detail([(seen.astype(np.float64), np.ones(seen.shape, bool))], Noise(read_std=STD))
        levels.append(found.diagonal)
        doubts.append((2 / max(found.places, 1)) ** 0.5)
    off = (np.array(levels) - 1) / np.array(doubts)
    assert abs(off.mean()) < 0.6
    assert 0.6 < off.std() < 1.5


def test_holes_are_no_flat_places() -> None:
    _, seen = observed()
    trusted = np.ones(seen.shape, bool)
    trusted[:, 40:] = False
    spoilt = np.where(trusted, seen, 0.5)
    found = flat_detail([(spoilt, trusted)], Noise(read_std=STD))
    # Only columns that are farther from the hole than filter and smoothing reach, one place in four pixels.
    assert 100 < found.places <= 28 * SIDE // 4
    assert found.diagonal == pytest.approx(1, abs=4 * (2 / found.places) ** 0.5)
    assert flat_detail([(seen[:10], trusted[:10])], Noise(read_std=STD)).places == 0


@pytest.fixture
def standins(monkeypatch: pytest.MonkeyPatch) -> None:
    add_standins(monkeypatch)


def restored(folder: Path, method: str, **wishes: Any) -> tuple[RestorationPlan, Bound, float]:
    """Return the plan of a run, its bound, and its true error in normalised units squared."""
    clean, seen = observed((192, 192), 5)
    target = folder / f"{method}.ome.zarr"
    plan = planned(saved(folder, seen), target, method, noise_std=STD, sure=True, **wishes)
    carry_out(plan)
    span = plan.channels[0].high - plan.channels[0].low
    true = float(np.mean((assembled(plan).squeeze() - clean) ** 2)) / span**2
    return plan, bound_of_run(Run.of(plan)), true


@pytest.mark.medium
@pytest.mark.parametrize("tile", [None, (1, 96, 96)])
def test_a_run_knows_its_bound(tmp_path: Path, tile: Any) -> None:
    plan, bound, true = restored(tmp_path, "wavelet", **({} if tile is None else {"tile": tile}))
    assert bound.error is not None
    assert abs(bound.error.mean - true) < 4 * bound.error.variance**0.5 + 0.02 * true
    assert bound.error.voxels == 192**2
    assert error_map(Run.of(plan)).shape == plan.tile_grid.grid_shape
    assert read_findings(Workspace.of(plan.target)).verdict in ("pass", "warn")
    assert bound.sentence in Workspace.of(plan.target).record.read_text().replace("\\u00b1", "±")


@pytest.mark.medium
def test_of_many_tiles_windows_are_probed_and_their_scatter_is_in_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_error, "_FEW_TILES", 2)
    monkeypatch.setattr(own_error, "_SIDES", (1, 32, 32))
    plan, bound, true = restored(tmp_path, "wavelet", tile=(1, 96, 96))
    assert bound.error is not None
    assert abs(bound.error.mean - true) < 4 * bound.error.variance**0.5 + 0.02 * true
    sampled = Run.of(plan).ledger.read("err_slope_var")
    monkeypatch.undo()
    tmp_path.joinpath("whole").mkdir()
    whole, _, _ = restored(tmp_path / "whole", "wavelet", tile=(1, 96, 96))
    assert (sampled > Run.of(whole).ledger.read("err_slope_var")).mean() > 0.5


@pytest.mark.medium
def test_a_network_that_learns_on_the_tile_has_no_bound(tmp_path: Path, standins: None) -> None:
    _, bound, _ = restored(tmp_path, "box")
    assert "learnt on their own pixels" in bound.sentence


@pytest.mark.medium
def test_probes_are_the_same_whenever_asked(tmp_path: Path) -> None:
    tmp_path.joinpath("a").mkdir()
    tmp_path.joinpath("b").mkdir()
    first, second = (restored(tmp_path / name, "wavelet")[1] for name in "ab")
    assert first == second


@pytest.mark.medium
def test_noise_that_the_detector_cut_has_no_bound(tmp_path: Path) -> None:
    clean, _ = observed((192, 192), 5)
    seen = np.clip(clean + STD * np.random.default_rng(0).standard_normal(clean.shape), 0.05, 1).astype(np.float32)
    plan = planned(saved(tmp_path, seen), tmp_path / "out.ome.zarr", "wavelet", noise_std=STD, sure=True)
    carry_out(plan)
    assert "limit of the detector" in bound_of_run(Run.of(plan)).sentence
