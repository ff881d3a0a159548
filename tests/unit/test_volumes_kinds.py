"""Labels, masks and palettes measure nothing: refused with a sentence, passed through unchanged by wish."""

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from typer.testing import CliRunner

from flows.cli import app
from ilcore.formats.gdal import not_georeferenced
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadVolume
from ilcore.planning.make import plan_restoration
from tests.restored import level, noisy_scene, restored

SIDE = 600
CLASSES = (np.add.outer(np.arange(SIDE) // 100, np.arange(SIDE) // 150) % 7).astype("u1")


def as_mask(path):
    np.save(path / "a.npy", CLASSES > 3)
    return path / "a.npy"


def as_bits(path):
    tifffile.imwrite(path / "a.tif", CLASSES > 3, photometric="minisblack")
    return path / "a.tif"


def as_palette(path):
    colours = {n: (37 * n % 256, 91 * n % 256, 53 * n % 256, 255) for n in range(256)}
    with (
        not_georeferenced(),
        rasterio.open(
            path / "a.tif", "w", driver="GTiff", count=1, height=SIDE, width=SIDE, dtype="uint8", photometric="palette"
        ) as to,
    ):
        to.write(CLASSES, 1)
        to.write_colormap(1, colours)
    return path / "a.tif"


def as_palette_of_png(path):
    with (
        not_georeferenced(),
        rasterio.open(path / "a.png", "w", driver="PNG", count=1, height=SIDE, width=SIDE, dtype="uint8") as to,
    ):
        to.write(CLASSES, 1)
        to.write_colormap(1, {n: (37 * n % 256, 91 * n % 256, 53 * n % 256, 255) for n in range(7)})
    return path / "a.png"


def as_flags(path):
    said = {"flag_values": list(range(7)), "flag_meanings": "a b c d e f g"}
    zarr.create_array(str(path / "a"), data=CLASSES, attributes=said)
    return path / "a"


def as_bit_flags(path):
    zarr.create_array(str(path / "a"), data=CLASSES, attributes={"flag_masks": [1, 2, 4], "units": "1"})
    return path / "a"


def as_stac_classes(path):
    zarr.create_array(str(path / "a"), data=CLASSES, attributes={"raster:bands": [{"classification:classes": []}]})
    return path / "a"


def as_image_label(path):
    axes = [{"name": axis, "type": "space"} for axis in "yx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}]
    ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}], "image-label": {"version": "0.5"}}
    group = zarr.create_group(str(path / "a"), attributes={"ome": ome})
    group.create_array("0", data=CLASSES)
    return path / "a"


def as_categories(path):
    tifffile.imwrite(path / "a.tif", CLASSES)
    notes = (
        "<PAMDataset><PAMRasterBand band='1'><CategoryNames><Category>sea</Category></CategoryNames></PAMRasterBand>"
    )
    (path / "a.tif.aux.xml").write_text(f"{notes}</PAMDataset>")
    return path / "a.tif"


WAYS = [
    (as_mask, "mask"), (as_bits, "mask"), (as_palette, "palette"), (as_palette_of_png, "palette"), (as_flags, "labels"),
    (as_bit_flags, "labels"), (as_stac_classes, "labels"), (as_image_label, "labels"), (as_categories, "labels"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "kind"), WAYS)
def test_what_measures_nothing_is_no_image_to_restore(tmp_path, write, kind):
    path = write(tmp_path)
    assert open_volume(path).kind == kind
    with pytest.raises(BadVolume, match=r"whose values measure something was wanted.*--task copy"):
        plan_restoration(str(path), str(tmp_path / "out.ome.zarr"))


@pytest.mark.medium
@pytest.mark.parametrize("write", [as_mask, as_palette, as_flags, as_image_label])
def test_it_is_passed_through_unchanged_by_wish(tmp_path, write):
    path = write(tmp_path)
    group = restored(path, tmp_path / "out.ome.zarr", method=None, task="copy")
    wanted = CLASSES > 3 if write is as_mask else CLASSES
    assert (level(group, "0") == wanted).all()
    # Means of labels are other labels.
    assert (level(group, "1") == wanted[::2, ::2]).all()
    assert open_volume(tmp_path / "out.ome.zarr").kind == open_volume(path).kind


@pytest.mark.parametrize(("low", "high", "dtype"), [(0, 255, "u1"), (0, 1, "u2"), (0.0, 1.0, "f4")])
def test_two_values_in_areas_are_a_mask_and_photons_are_none(tmp_path, low, high, dtype):
    np.save(tmp_path / "mask.npy", np.where(CLASSES > 3, high, low).astype(dtype))
    with pytest.raises(BadVolume, match=f"holds 0 and {high:g} only, in areas"):
        plan_restoration(str(tmp_path / "mask.npy"), str(tmp_path / "out"), method="wavelet")
    photons = np.random.default_rng(0).random((96, 96)) < 0.1
    np.save(tmp_path / "photons.npy", np.where(photons, high, low).astype(dtype))
    plan_restoration(str(tmp_path / "photons.npy"), str(tmp_path / "out"), method="wavelet")


@pytest.mark.medium
def test_the_command_ends_with_2(tmp_path):
    told = CliRunner().invoke(app, ["plan", str(as_flags(tmp_path)), str(tmp_path / "out.ome.zarr")])
    assert told.exit_code == 2
    assert "labels" in told.output


@pytest.mark.medium
def test_one_value_everywhere_may_be_copied(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((40, 40), bool))
    assert (level(restored(tmp_path / "a.npy", tmp_path / "out", method=None, task="copy"), "0") == 1).all()


@pytest.mark.parametrize("colour", [(1, 1, 1), (0, 1, 0), (1, 0.5, 0)])
def test_a_table_from_dark_to_bright_only_shows_what_was_measured(tmp_path, colour):
    table = np.outer(colour, np.arange(256) * 256).astype("u2")
    values = noisy_scene(low=50, high=200, std=9).clip(0, 255).astype("u1")
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="palette", colormap=table)
    assert open_volume(tmp_path / "a.tif").kind == "image"


def test_white_at_zero_is_told(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((9, 9), "u1"), photometric="miniswhite")
    assert "white is 0" in open_volume(tmp_path / "a.tif").remarks[0]
