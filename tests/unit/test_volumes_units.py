"""A unit is known by all its usual names, at every door; a number whose unit nobody knows keeps it, never a pixel."""

import numpy as np
import pytest
import tifffile
import zarr

from ilcore.formats.in_memory import from_array
from ilcore.formats.open import open_volume
from ilcore.results.export import export_volume
from ilcore.results.ome_tiff import write_ome_tiff
from ilcore.volumes.units import full_unit, symbol_of
from tasks.describe import describe
from tests.told import store

VALUES = np.random.default_rng(0).integers(90, 120, (3, 16, 16)).astype("u2")
MICROMETER = ("um", "µm", "μm", "UM", "micron", "Microns", "micrometre", "micrometers", "\\u00B5m", "Âµm")
NAMES = {
    **dict.fromkeys(MICROMETER, "micrometer"),
    "NM": "nanometer", "Å": "angstrom", "\u212b": "angstrom", "in": "inch", "inches": "inch", "Mm": "megameter",
    "mm": "millimeter", "pm": "picometer", "Pm": "petameter", "metre": "meter", "sec": "second", "µs": "microsecond",
    "pixels": "pixel", "reference frame": "reference frame", "furlong": "furlong", "degrees_north": "degrees_north",
    "": None, "unknown": None, "1": None,
}  # fmt: skip


@pytest.mark.parametrize("said", NAMES)
def test_usual_names_of_units(said):
    assert full_unit(said) == NAMES[said]
    assert full_unit(full_unit(said)) == full_unit(said), "a full name names itself"


def test_what_ome_has_a_symbol_for_is_read_again():
    for name in filter(None, set(NAMES.values())):
        assert full_unit(symbol_of(name) or name) == name


def ome_zarr(folder, unit):
    axes = [{"name": axis, "type": "space", "unit": unit} for axis in "zyx"]
    step = {"type": "scale", "scale": [0.5, 0.1, 0.2]}
    said = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [step]}]}
    group = zarr.open_group(folder / "a.zarr", mode="w", attributes={"ome": {"version": "0.5", "multiscales": [said]}})
    group.create_array("0", shape=VALUES.shape, dtype="u2")[...] = VALUES
    return folder / "a.zarr"


def ome_tiff(folder, unit):
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (0.5, 0.1, 0.2), strict=True)}
    units = {f"{key}Unit": unit for key in sizes}
    tifffile.imwrite(folder / "a.ome.tif", VALUES, ome=True, metadata={"axes": "ZYX", **sizes, **units})
    return folder / "a.ome.tif"


def imagej(folder, unit):
    said = {"axes": "ZYX", "spacing": 0.5, "unit": unit}
    tifffile.imwrite(folder / "a.tif", VALUES, imagej=True, resolution=(5, 10), metadata=said)
    return folder / "a.tif"


def dataset(folder, unit):
    group = zarr.open_group(folder / "a.zarr", mode="w")
    group.create_array("a", shape=VALUES.shape, dtype="u2", dimension_names=tuple("zyx"))[...] = VALUES
    for axis, size, length in zip("zyx", (0.5, 0.1, 0.2), VALUES.shape, strict=True):
        made = {"shape": (length,), "dtype": "f8", "dimension_names": (axis,), "attributes": {"units": unit}}
        group.create_array(axis, **made)[...] = size * np.arange(length)
    return folder / "a.zarr"


DOORS = [ome_zarr, ome_tiff, imagej, dataset]


@pytest.mark.medium
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("unit", ["micron", "nanometer", "inch", "furlong", "pixel", "reference frame"])
def test_every_door_keeps_number_and_unit(tmp_path, door, unit):
    volume = open_volume(door(tmp_path, unit), image="a" if door is dataset else None)
    assert volume.scale[2:] == pytest.approx((0.5, 0.1, 0.2))
    assert volume.units[2:] == (full_unit(unit),) * 3


@pytest.mark.parametrize("unit", [None, "micron", "furlong", "pixel", "reference frame"])
def test_results_and_exports_keep_number_and_unit(tmp_path, unit):
    told = from_array(VALUES, "zyx", scale=(0.5, 0.1, 0.2), units=(unit,) * 3)
    store(tmp_path / "b.zarr", told, "ome-zarr 0.5")
    exported = export_volume(str(tmp_path / "b.zarr"), tmp_path / "b.ome.tif")
    for read in (open_volume(tmp_path / "b.zarr"), open_volume(exported)):
        assert (read.scale, read.units) == (told.scale, told.units)


def test_where_nothing_is_known_nothing_is_said(tmp_path):
    write_ome_tiff(tmp_path / "a.ome.tif", [from_array(VALUES, "zyx")])
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert "PhysicalSize" not in file.ome_metadata
    write_ome_tiff(tmp_path / "b.ome.tif", [from_array(VALUES, "zyx", scale=(1, 2, 3))])
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        assert 'PhysicalSizeYUnit="reference frame"' in file.ome_metadata
    np.save(tmp_path / "a.npy", VALUES)
    told = describe(str(tmp_path / "a.npy"), axes=None, level=0, missing=None)
    assert not any("pixel" in each for each in told["voxel"])


@pytest.mark.parametrize(
    ("resolution", "unit", "wanted", "told"),
    [
        ((254_000, 127_000), "INCH", (0.2, 0.1), False),
        ((300, 300), "INCH", (1, 1), True),
        ((1e4, 2e4), "CENTIMETER", (0.5, 1), False),
        ((4, 2), "NONE", (0.5, 0.25), False),
    ],
)
def test_resolutions_of_plain_tiff_are_used_or_told(tmp_path, resolution, unit, wanted, told):
    tifffile.imwrite(tmp_path / "a.tif", VALUES[0], resolution=resolution, resolutionunit=unit, metadata=None)
    volume = open_volume(tmp_path / "a.tif")
    assert volume.scale[3:] == pytest.approx(wanted)
    assert volume.units[3] == (None if told or unit == "NONE" else "micrometer")
    assert any("resolution" in each for each in volume.remarks) == told
