"""Validity is more than one number: voxels without data stay as they are, and voxels with data stay data."""

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine

from ilcore.formats.gdal import not_georeferenced
from ilcore.formats.open import open_volume
from ilcore.grammar.region import whole
from ilcore.keeping.verify import verify
from ilcore.planning.make import plan_restoration
from ilcore.results.export import export_volume
from ilcore.results.pyramid import mean_of_cells
from ilcore.running.carry_out import carry_out
from ilcore.running.run import Run
from ilcore.running.workspace import Workspace
from ilcore.volumes.validity import Validity
from tests.restored import level, noisy_scene, restored

PLACE = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}


def raster(path, bands, mask=None, *, is_inside=True, **more):
    held = np.atleast_3d(np.asarray(bands).transpose()).transpose() if np.asarray(bands).ndim == 2 else bands
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=is_inside), rasterio.open(
        path, "w", driver="GTiff", count=len(held), height=held.shape[1], width=held.shape[2], dtype=held.dtype,
        **PLACE, **more,
    ) as to:  # fmt: skip
        to.write(held)
        if mask is not None:
            to.write_mask(mask)
    return path


def shown_in(volume):
    region = whole(volume.shape)
    return volume.valid(region, volume.read(region))


def junk(side=96):
    """A scene, where it is data, and junk where it is not."""
    values, shown = noisy_scene(side).astype("u2"), np.ones((side, side), bool)
    shown[:, :30], shown[40:46, 60:66] = False, False
    return np.where(shown, values, 60000 - values), shown


@pytest.mark.medium
@pytest.mark.parametrize("is_inside", [True, False], ids=["internal", "sidecar"])
def test_what_a_mask_hides_stays_as_it_is_and_so_does_the_mask(tmp_path, is_inside):
    values, shown = junk()
    path = raster(tmp_path / "a.tif", values, shown * np.uint8(255), is_inside=is_inside)
    group = restored(path, tmp_path / "out.ome.zarr")
    assert (level(group, "0")[~shown] == values[~shown]).all()
    assert (level(group, "mask/0") == shown).all()
    again = open_volume(tmp_path / "out.ome.zarr")
    assert (shown_in(again)[0, 0, 0] == shown).all()
    assert np.abs(level(group, "0")[shown] - noisy_scene(std=0)[shown]).mean() < 60


@pytest.mark.medium
def test_coarser_levels_average_only_what_the_mask_shows(tmp_path):
    values, shown = junk(600)
    plan = plan_restoration(
        str(raster(tmp_path / "a.tif", values, shown * np.uint8(255))), str(tmp_path / "out"), method="wavelet"
    )
    carry_out(plan)
    group = zarr.open_group(str(tmp_path / "out"), mode="r")
    coarse, mask = level(group, "1"), level(group, "mask/1")
    assert (mask == shown.reshape(300, 2, 300, 2).any(axis=(1, 3))).all()
    assert coarse[mask > 0].max() < 5000
    assert level(group, "mask/2").shape == level(group, "2").shape
    workspace = Workspace.of(plan.target)
    assert verify(Run(plan, workspace)) == ()
    held = zarr.open_array(str(tmp_path / "out" / "mask" / "1"), mode="r+")
    held[:8] = 1 - held[:8]
    assert {each.place for each in verify(Run(plan, workspace))} == {"mask/1"}


@pytest.mark.medium
def test_a_band_of_opacity_is_kept_and_says_what_is_data(tmp_path):
    values, shown = junk()
    bands = np.stack([(values // 300).astype("u1")] * 3 + [shown * np.uint8(200)])
    path = raster(tmp_path / "a.tif", bands, photometric="RGB", alpha="YES")
    volume = open_volume(path)
    assert "sample 3 is opacity" in volume.remarks[0]
    group = restored(path, tmp_path / "out.ome.zarr")
    out = level(group, "0")
    # Opacity comes out as it went in, and colours where there is none.
    found = open_volume(tmp_path / "out.ome.zarr").read(whole(volume.shape))[0, :, 0]
    assert (found[3] == bands[3]).all()
    assert (found[:3, ~shown] == bands[:3, ~shown]).all()
    assert out.dtype == np.uint8


def test_a_mask_of_another_format(tmp_path):
    values, shown = junk()
    with (
        not_georeferenced(),
        rasterio.open(
            tmp_path / "a.png", "w", driver="PNG", count=4, height=96, width=96, dtype="uint8", photometric="RGB"
        ) as to,
    ):
        to.write(np.stack([(values // 300).astype("u1")] * 3 + [shown * np.uint8(255)]))
    found = shown_in(open_volume(tmp_path / "a.png"))[0, :, 0]
    assert (found[:3] == shown).all()
    assert not found[3].any()


@pytest.mark.medium
def test_several_marks_come_out_as_they_went_in(tmp_path):
    values = noisy_scene().astype("i2")
    values[:, :20], values[:, 20:30], values[:, 30:40] = -9999, -8888, -7777
    said = {"missing_value": [-9999, -8888], "nodata": "-7777", "_ARRAY_DIMENSIONS": ["y", "x"]}
    zarr.create_array(str(tmp_path / "a"), data=values, zarr_format=2, attributes=said)
    group = restored(tmp_path / "a", tmp_path / "out.ome.zarr")
    assert (level(group, "0")[:, :40] == values[:, :40]).all()
    again = open_volume(tmp_path / "out.ome.zarr")
    assert {again.missing, *again.also_missing} == {-9999, -8888, -7777}


@pytest.mark.medium
@pytest.mark.parametrize(
    "said", [{"valid_range": [0, 4000]}, {"valid_min": 0, "valid_max": 4000}, {"valid_min": "0", "valid_max": [4000]}]
)
def test_values_outside_the_valid_range_stay_and_others_do_not_leave_it(tmp_path, said):
    values = (noisy_scene(low=20, high=60, std=30)).astype("i2").clip(0)
    values[:, :20], values[:5] = -5, 9000
    zarr.create_array(str(tmp_path / "a"), data=values, attributes=said)
    group = restored(tmp_path / "a", tmp_path / "out.ome.zarr")
    out, valid = level(group, "0"), (values >= 0) & (values <= 4000)
    assert (out[~valid] == values[~valid]).all()
    assert (out[valid] >= 0).all()
    assert (out[valid] <= 4000).all()
    assert open_volume(tmp_path / "out.ome.zarr").valid_range == (0, 4000)


def test_special_values_of_a_measured_variable_are_marks(tmp_path):
    said = {"flag_values": [-1, -2], "flag_meanings": "land cloud", "units": "kelvin"}
    values = noisy_scene().astype("i2")
    values[:9], values[9:20] = -1, -2
    zarr.create_array(str(tmp_path / "a"), data=values, attributes=said)
    volume = open_volume(tmp_path / "a")
    assert volume.kind == "image"
    assert (volume.missing, volume.also_missing) == (-1, (-2,))
    assert "flag_meanings" in volume.about.attributes


@pytest.mark.medium
@pytest.mark.parametrize(("dtype", "mark"), [("i2", 0), ("u1", 0), ("u1", 255), ("u1", 3), ("f4", 0.0)])
def test_no_restored_valid_voxel_equals_the_mark_in_no_level(tmp_path, dtype, mark):
    values = np.random.default_rng(0).normal(mark, 3, (600, 600))
    values = values.clip(0, 255).round().astype(dtype) if dtype == "u1" else values.round().astype(dtype)
    values[values == mark] = 1 if mark in (0, 0.0) else 254 if mark == 255 else 4
    values[:, :64] = mark
    np.save(tmp_path / "a.npy", values)
    group = restored(tmp_path / "a.npy", tmp_path / "out", missing=mark, noise_std=3.0)
    coarse = values.reshape(300, 2, 300, 2)
    assert ((level(group, "0") == mark) == (values == mark)).all()
    assert ((level(group, "1") == mark) == (coarse == mark).all(axis=(1, 3))).all()
    assert not (level(group, "2")[:, 17:] == mark).any()


MARKS = st.lists(st.integers(-3, 3), min_size=1, max_size=3, unique=True)


@given(st.lists(st.floats(-4, 4), min_size=4, max_size=16), MARKS, st.sampled_from(["i1", "f4", "f8"]))
def test_new_values_never_become_marks_and_move_no_further_than_needed(wanted, marks, dtype):
    exact = np.array(wanted)
    values = np.rint(exact).astype(dtype)
    kept = Validity(tuple(marks)).kept_valid(values, exact)
    assert kept.dtype == values.dtype
    assert not np.isin(kept, marks).any()
    assert (kept[~np.isin(values, marks)] == values[~np.isin(values, marks)]).all()
    assert np.abs(kept.astype(float) - values).max() <= len(marks)


def test_a_mean_that_meets_the_mark_moves_to_its_own_side():
    cells = np.array([[-1, 2, 1, -2, 5, 5]], "i2").reshape(1, 1, 1, 1, 6)
    assert mean_of_cells(cells, (1, 1, 1, 1, 2), Validity((0, 5))).ravel().tolist() == [1, -1, 0]


def test_a_cell_out_of_range_stays_out_of_range():
    cells = np.array([[-5, -6, 3, 4, -7, 2]], "i2").reshape(1, 1, 1, 1, 6)
    assert mean_of_cells(cells, (1, 1, 1, 1, 2), Validity(low=0)).ravel().tolist() == [-5, 4, 2]


def test_a_user_s_mark_takes_the_place_of_those_of_the_source(tmp_path):
    zarr.create_array(str(tmp_path / "a"), data=np.ones((9, 9), "i2"), attributes={"missing_value": [-9, -8]})
    volume = open_volume(tmp_path / "a", missing=-7)
    assert (volume.missing, volume.also_missing) == (-7, ())


@pytest.mark.medium
def test_a_mask_is_exported_or_its_loss_is_told(tmp_path):
    values, shown = junk()
    path = raster(tmp_path / "a.tif", values, shown * np.uint8(255))
    restored(path, tmp_path / "out.ome.zarr")
    found = open_volume(export_volume(str(tmp_path / "out.ome.zarr"), tmp_path / "b.tif"))
    assert (shown_in(found)[0, 0, 0] == shown).all()
    plain = open_volume(export_volume(str(tmp_path / "out.ome.zarr"), tmp_path / "b.ome.tif"))
    assert "OME-TIFF has no place for it" in plain.remarks[0]


def test_a_mask_of_another_size_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((40, 40), "u2"))
    tifffile.imwrite(tmp_path / "a.tif.msk", np.ones((20, 20), "u1"))
    with pytest.raises(Exception, match="a mask of .* was wanted"):
        open_volume(tmp_path / "a.tif")
