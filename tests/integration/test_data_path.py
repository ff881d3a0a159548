"""From a stored volume to an assembled one, through plan, tiles, scratch and blending, in one process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
from numpy.typing import NDArray

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import MissingKnowledge
from ilcore.running.ledger import Ledger
from ilcore.running.local import carry_out
from ilcore.running.stages import prepare
from ilcore.running.tile import restore_unit
from ilcore.running.workspace import Workspace
from tests.scenes import noisy, scene
from tests.standins import add_standins, assembled, planned, saved


@pytest.fixture(autouse=True)
def standins(monkeypatch: pytest.MonkeyPatch) -> None:
    add_standins(monkeypatch)


def picture(shape: tuple[int, ...] = (70, 90), seed: int = 0) -> NDArray[np.float32]:
    return noisy(scene("cells", shape, seed), std=0.05, seed=seed)


def ledger_of(plan: Any) -> Ledger:
    return Ledger(Workspace.of(plan.target).ledger, plan.tile_grid)


SOURCES = {
    "uint8": (picture() * 200 + 20).clip(0, 255).astype("u1"),
    "uint16": (picture() * 40_000 + 900).clip(0, 65535).astype("u2"),
    "int16 below zero": (picture() * 3000 - 1500).astype("i2"),
    "int32, large": (picture() * 2e9).astype("i4"),
    "uint32, large offset": (picture() * 500 + 4e9).astype("u4"),
    "big-endian": (picture() * 40_000 + 900).clip(0, 65535).astype(">u2"),
    "float32": picture(),
    "float64": picture().astype("f8") * 1e-9,
    "stack": (picture((6, 40, 52)) * 40_000).clip(0, 65535).astype("u2"),
    "tiny": np.arange(35, dtype="u2").reshape(5, 7) ** 2,
    "one row": np.arange(64, dtype="u2").reshape(1, 64),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_method_that_changes_nothing_gives_the_source_back(name: str, tmp_path: Path) -> None:
    source = SOURCES[name]
    core = (4, 32, 24) if source.ndim == 3 else (1, 32, 24)
    plan = planned(saved(tmp_path, source), tmp_path / "out.ome.zarr", "unchanged", tile=core)
    carry_out(plan)
    found = assembled(plan)
    assert found.dtype == source.dtype.newbyteorder("=")
    # Blending adds up in 64 bits: that rounds the last of them, and none of a narrower type.
    np.testing.assert_allclose(found.reshape(source.shape), source, rtol=1e-15 if source.dtype == "f8" else 0, atol=0)
    assert set(ledger_of(plan).read("status").ravel()) <= {1, 3}


@pytest.mark.parametrize("core", [(1, 16, 16), (1, 33, 21), (1, 500, 500)])
def test_tiles_with_a_halo_give_what_the_whole_picture_gives(core: tuple[int, int, int], tmp_path: Path) -> None:
    source = picture()
    plan = planned(saved(tmp_path, source), tmp_path / "out.ome.zarr", "box", tile=core)
    carry_out(plan)
    ones = ndi.uniform_filter(np.ones(source.shape), 5, mode="constant")
    wanted = ndi.uniform_filter(source.astype("f8"), 5, mode="constant") / ones
    np.testing.assert_allclose(assembled(plan)[0, 0, 0], wanted, atol=1e-5)


def test_channels_times_and_planes_stay_apart(tmp_path: Path) -> None:
    source = (
        (np.stack([[picture((3, 40, 44), 2 * t + c) * (1 + 9 * c) for c in range(2)] for t in range(2)]) * 900)
        .clip(0, 65535)
        .astype("u2")
    )
    plan = planned(saved(tmp_path, source), tmp_path / "out.ome.zarr", "box", axes="tczyx", tile=(2, 20, 22))
    carry_out(plan)
    ones = ndi.uniform_filter(np.ones((40, 44)), 5, mode="constant")
    for place in np.ndindex(2, 2, 3):
        wanted = ndi.uniform_filter(source[place].astype("f8"), 5, mode="constant") / ones
        np.testing.assert_allclose(assembled(plan)[place], wanted, atol=0.6)


@pytest.mark.parametrize(("kind", "missing"), [("nan", None), ("inf", None), ("nodata", -999.0)])
def test_values_that_are_no_data_come_out_as_they_went_in(kind: str, missing: float | None, tmp_path: Path) -> None:
    source = picture()
    holes = np.random.default_rng(0).random(source.shape) < 0.05
    holes[20:60, 30:60] = True
    source[holes] = {"nan": np.nan, "inf": np.inf, "nodata": -999}[kind]
    plan = planned(saved(tmp_path, source), tmp_path / "out.ome.zarr", "box", missing=missing, tile=(1, 24, 24))
    carry_out(plan)
    found = assembled(plan)[0, 0, 0]
    np.testing.assert_array_equal(found[holes], source[holes])
    assert np.isfinite(found[~holes]).all()
    assert not np.array_equal(found[~holes], source[~holes])
    assert abs(found[~holes].mean() - source[~holes].mean()) < 0.02


def test_inpainting_fills_them(tmp_path: Path) -> None:
    source = scene("cells", (40, 40), 3) * 100
    source[10:14, 10:14] = np.nan
    plan = planned(
        saved(tmp_path, source), tmp_path / "out.ome.zarr", "dip", task="inpaint",
        overrides={"stop.steps": 3, "network.width": 4, "network.scales": 2},
    )  # fmt: skip
    carry_out(plan)
    assert np.isfinite(assembled(plan)).all()


def test_a_dark_channel_stays_as_it_is_and_harms_nobody(tmp_path: Path) -> None:
    source = np.stack([picture((48, 48)) * 1000, np.full((48, 48), 7)]).clip(0, 65535).astype("u2")
    plan = planned(saved(tmp_path, source), tmp_path / "out.ome.zarr", "box", axes="cyx", sure=True)
    carry_out(plan)
    assert (assembled(plan)[0, 1] == 7).all()
    assert not np.array_equal(assembled(plan)[0, 0, 0], source[0])
    assert next(ledger_of(plan).rows())["used"] == "tile"


def test_holes_that_no_method_could_fill_are_filled_from_beside_them(tmp_path: Path) -> None:
    source = scene("cells", (40, 40), 3) * 100
    source[10:14, 10:14] = np.nan
    source[20:, 20:] = 5
    source[30:32, 30:32] = np.nan
    plan = planned(saved(tmp_path, source), tmp_path / "out.ome.zarr", "spoilt", task="inpaint", tile=(1, 20, 20))
    carry_out(plan)
    found = assembled(plan)[0, 0, 0]
    assert np.isfinite(found).all()
    around = source[8:16, 8:16][np.isfinite(source[8:16, 8:16])]
    assert around.min() - 1 <= found[10:14, 10:14].min() <= found[10:14, 10:14].max() <= around.max() + 1
    assert (found[30:32, 30:32] == 5).all()


def test_a_volume_wants_its_model_before_its_tiles(tmp_path: Path) -> None:
    plan = planned(saved(tmp_path, picture((40, 40))), tmp_path / "out.ome.zarr", "box", scope="volume")
    workspace = Workspace.of(plan.target)
    with workspace.locked():
        prepare(plan, workspace)
        with pytest.raises(MissingKnowledge, match="learn it first"):
            restore_unit(plan, workspace, (0, 0, 0, 0))


def test_a_model_that_diverged_makes_every_tile_fall_back(tmp_path: Path) -> None:
    plan = planned(saved(tmp_path, picture((40, 40))), tmp_path / "out.ome.zarr", "spoilt", scope="volume")
    report = carry_out(plan)
    rows = list(ledger_of(plan).rows())
    assert {(row["used"], row["reason"]) for row in rows} == {("classical", "diverged")}
    assert report.verdict == "fail"


def test_empty_tiles_are_copied_and_marked(tmp_path: Path) -> None:
    source = (picture((64, 64)) * 1000).clip(0, 65535).astype("u2")
    source[:, :32] = 7
    plan = planned(saved(tmp_path, source), tmp_path / "out.ome.zarr", "box", tile=(1, 16, 16))
    carry_out(plan)
    np.testing.assert_array_equal(assembled(plan)[0, 0, 0, :, :14], source[:, :14])
    empty = ledger_of(plan).read("status") == 3
    assert empty[0, 0, :, 0].all()
    assert not empty[0, 0, :, 2:].any()


def test_a_spoilt_tile_falls_back_and_is_counted(tmp_path: Path) -> None:
    source = picture((48, 48))
    plan = planned(saved(tmp_path, source), tmp_path / "out.ome.zarr", "spoilt", sure=True, noise_std=0.05)
    report = carry_out(plan)
    row = next(ledger_of(plan).rows())
    assert (row["status"], row["used"], row["reason"]) == ("fell back", "classical", "diverged")
    clean = scene("cells", (48, 48), 0)
    assert np.mean((assembled(plan)[0, 0, 0] - clean) ** 2) < 0.7 * np.mean((source - clean) ** 2)
    assert report.verdict != "pass"


def test_what_the_type_cannot_hold_is_clipped_and_counted(tmp_path: Path) -> None:
    source = np.random.default_rng(0).integers(0, 256, (40, 44)).astype("u1")
    plan = planned(saved(tmp_path, source), tmp_path / "out.ome.zarr", "brighter", tile=(1, 20, 22))
    report = carry_out(plan)
    channel = plan.channels[0]
    wanted = source + 0.5 * (channel.high - channel.low)
    # Half a grey level rounds to either side.
    np.testing.assert_allclose(assembled(plan)[0, 0, 0], wanted.clip(0, 255), atol=0.51)
    # What was at the limit before loses nothing by staying there.
    clipped = int(((wanted > 256) & (source < 255)).sum())
    assert clipped > 100
    assert clipped <= ledger_of(plan).read("clipped_values").sum() <= int((wanted > 255).sum())
    assert abs(ledger_of(plan).read("clipped").mean() - clipped / source.size) < 0.05
    assert next(f for f in report.findings if f.check == "clipped values").verdict == "fail"


def test_a_published_result_is_an_ome_zarr_like_its_source(tmp_path: Path) -> None:
    source = (picture((300, 200)) * 4000 + 100).clip(0, 65535).astype("u2")
    plan = planned(
        saved(tmp_path, source), tmp_path / "out.ome.zarr", "zs_n2n", sure=True, noise_std=200.0, tile=(1, 150, 100),
        overrides={"stop.steps": 150, "network.width": 16, "descent.learning_rate": 1e-2},
    )  # fmt: skip
    report = carry_out(plan)
    assert report.verdict in ("pass", "warn"), report
    result = open_volume(str(tmp_path / "out.ome.zarr"))
    assert (result.format, result.dtype.name, result.shape, result.axes) == (
        "ome-zarr 0.5",
        "uint16",
        (1, 1, 1, 300, 200),
        "yx",
    )
    clean = scene("cells", (300, 200), 0) * 4000 + 100
    error = [float(np.mean((image - clean) ** 2)) for image in (assembled(plan)[0, 0, 0], source)]
    assert error[0] < 0.6 * error[1]
    assert not Workspace.of(plan.target).scratch.exists()
    assert not Workspace.of(plan.target).staging.exists()
    again = carry_out(plan)
    assert again == report
