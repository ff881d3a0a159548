"""Which fields of the metadata survive which format: written by the usual program of the format, read by us.

python -m tests.bench.formats          writes the tables into docs/formats.md
"""

import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import rasterio
import tifffile
import xarray as xr
from rasterio.crs import CRS
from rasterio.transform import Affine

from ilcore.formats.open import from_array, open_volume
from ilcore.results.export import export_volume
from ilcore.volumes.axes import from_five
from ilcore.volumes.scan_metadata import About
from ilcore.volumes.volume import Volume
from tests.bench import said
from tests.told import channel, scan, store, voxels

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
YES, NO, NOT_ASKED = "yes", "-", ""
Writer: TypeAlias = Callable[[Path, Volume], Path]


def stack() -> Volume:
    """A stack of a microscope that says all it can."""
    values = np.random.default_rng(0).integers(0, 4000, (2, 3, 300, 280)).astype("u2")
    volume = from_array(
        values, "czyx", scale=(1, 2.5, 0.5, 0.25), units=(None, *["micrometer"] * 3), channels=("DAPI", "GFP"),
        missing=0,
    )  # fmt: skip
    display = json.dumps({"channels": [channel("DAPI", "0000FF"), channel("GFP", "00FF00")]}, sort_keys=True)
    about = About(acquired="2024-05-06T07:08:09", value_scale=0.5, value_offset=3.0, attributes='{"mission": "S2"}')
    return replace(volume, display=display, about=about, origin=(0.0, 0.0, 10.0, 20.0, 30.0))


def earth() -> Volume:
    """A picture of the Earth that says all it can; its place is told by the transform."""
    return replace(scan(600, 520), about=replace(scan().about, acquired="2024-05-06T07:08:09"))


def result(result_format: Any) -> Writer:
    def write(folder: Path, volume: Volume) -> Path:
        store(folder / "a.zarr", volume, result_format)
        return folder / "a.zarr"

    return write


def geozarr(folder: Path, volume: Volume) -> Path:
    """A group that says nothing of OME."""
    path = result("ome-zarr 0.5")(folder, volume)
    said = json.loads((path / "zarr.json").read_text())
    del said["attributes"]["ome"]
    (path / "zarr.json").write_text(json.dumps(said))
    return path


def dataset(version: int) -> Writer:
    def write(folder: Path, volume: Volume) -> Path:
        import rioxarray  # noqa: F401

        about, names = volume.about, volume.axes
        coords = {axis: (axis, *_along(volume, axis)) for axis in names if axis != "c"}
        raw = from_five(voxels(volume), names)
        packed = {"_FillValue": volume.missing, "scale_factor": about.value_scale, "add_offset": about.value_offset}
        array = xr.DataArray(raw, coords, tuple(names), attrs={"long_name": list(volume.channels), **packed})
        held = array.to_dataset(name="band")
        if about.crs:
            held = held.rio.write_crs(about.crs).rio.write_transform(Affine(*about.affine))
        held.attrs |= {**json.loads(about.attributes or "{}"), "acquisition_date": about.acquired}
        held = xr.decode_cf(held, decode_coords="all")
        held.to_zarr(folder / "a.zarr", zarr_format=version, consolidated=False)
        return folder / "a.zarr"

    return write


def _along(volume: Volume, axis: str) -> tuple[Any, dict[str, str]]:
    """Coordinates of the middles of the voxels."""
    at = "tczyx".index(axis)
    steps = np.arange(volume.shape[at])
    if volume.about.affine is not None and axis in "yx":
        a, _, c, _, e, f = volume.about.affine
        return (f + e * (steps + 0.5) if axis == "y" else c + a * (steps + 0.5)), {"units": "m"}
    return volume.origin[at] + volume.scale[at] * steps, {"units": volume.units[at] or "1"}


def exported(name: str) -> Writer:
    def write(folder: Path, volume: Volume) -> Path:
        return export_volume(str(result("ome-zarr 0.5")(folder, volume)), folder / name)

    return write


def geotiff(folder: Path, volume: Volume) -> Path:
    return _rasterio(folder / "a.tif", volume, driver="GTiff", nodata=volume.missing)


def jpeg_2000(folder: Path, volume: Volume) -> Path:
    return _rasterio(folder / "a.jp2", volume, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")


def _rasterio(path: Path, volume: Volume, **more: Any) -> Path:
    about, bands = volume.about, voxels(volume)[0, :, 0]
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", count=count, height=height, width=width, dtype=bands.dtype, crs=about.crs,
        transform=Affine(*about.affine), **more,
    ) as to:  # fmt: skip
        to.write(bands)
        if more["driver"] == "GTiff":
            to.descriptions, to.scales, to.offsets = volume.channels, [about.value_scale] * 2, [about.value_offset] * 2
            to.build_overviews([2])
            to.update_tags(TIFFTAG_DATETIME="2024:05:06 07:08:09", **json.loads(about.attributes))
    return path


def ome_tiff(folder: Path, volume: Volume) -> Path:
    sizes = {f"PhysicalSize{axis.upper()}": size for axis, size in zip("zyx", volume.scale[2:], strict=True)}
    units = {f"{key}Unit": "µm" for key in sizes}
    colours = [0x0000FFFF, 0x00FF00FF]
    said = {
        "axes": "CZYX", **sizes, **units, "AcquisitionDate": volume.about.acquired,
        "Channel": {"Name": list(volume.channels), "Color": colours},
    }  # fmt: skip
    held = voxels(volume)[0]
    with tifffile.TiffWriter(folder / "a.ome.tif", ome=True) as to:
        to.write(held, photometric="minisblack", metadata=said, subifds=1)
        to.write(held[..., ::2, ::2], photometric="minisblack", subfiletype=1, metadata=None)
    return folder / "a.ome.tif"


def imagej(folder: Path, volume: Volume) -> Path:
    ramp, off = np.arange(256, dtype="u1"), np.zeros(256, "u1")
    said = {
        "axes": "ZCYX", "spacing": volume.scale[2], "unit": "um", "mode": "composite",
        "LUTs": [np.array([off, off, ramp]), np.array([off, ramp, off])],
    }  # fmt: skip
    per_unit = tuple(1 / volume.scale[at] for at in (4, 3))
    array = voxels(volume)[0].transpose(1, 0, 2, 3)
    tifffile.imwrite(folder / "a.tif", array, imagej=True, resolution=per_unit, metadata=said)
    return folder / "a.tif"


def numpy(folder: Path, volume: Volume) -> Path:
    np.save(folder / "a.npy", voxels(volume)[0])
    return folder / "a.npy"


EARTH, MICROSCOPE = {"earth": earth}, {"microscope": stack}
BOTH = EARTH | MICROSCOPE
#: Who writes the format, and what volumes it can hold.
IN: Mapping[str, tuple[Writer, Mapping[str, Callable[[], Volume]]]] = {
    "OME-Zarr 0.5": (result("ome-zarr 0.5"), BOTH),
    "OME-Zarr 0.4": (result("ome-zarr 0.4"), BOTH),
    "GeoZarr": (geozarr, EARTH),
    "Zarr v3 by xarray": (dataset(3), BOTH),
    "Zarr v2 by xarray": (dataset(2), BOTH),
    "GeoTIFF": (geotiff, EARTH),
    "JPEG 2000": (jpeg_2000, EARTH),
    "OME-TIFF": (ome_tiff, MICROSCOPE),
    "ImageJ TIFF": (imagej, MICROSCOPE),
    "NumPy": (numpy, MICROSCOPE),
}
OUT: Mapping[str, tuple[Writer, Mapping[str, Callable[[], Volume]]]] = {
    "OME-Zarr 0.5": (result("ome-zarr 0.5"), BOTH),
    "OME-Zarr 0.4": (result("ome-zarr 0.4"), BOTH),
    "OME-TIFF (`il export`)": (exported("a.ome.tif"), BOTH),
    "COG (`il export`)": (exported("a.tif"), EARTH),
}


def _same_system(one: Volume, other: Volume) -> bool:
    return other.about.crs is not None and CRS.from_wkt(one.about.crs) == CRS.from_wkt(other.about.crs)


def _said(volume: Volume) -> bool:
    return "mission" in json.loads(volume.about.attributes or "{}")


def _colours(volume: Volume) -> list[Any]:
    return [each.get("color") for each in json.loads(volume.display or "{}").get("channels", [])]


#: Whether one volume says of a field what another one said; None where the other said nothing.
KEPT: Mapping[str, Callable[[Volume, Volume], bool | None]] = {
    "axes": lambda told, read: sorted(told.axes) == sorted(read.axes),
    "voxel size": lambda told, read: bool(np.allclose(told.scale, read.scale)),
    "units": lambda told, read: told.units == read.units,
    "origin": lambda told, read: bool(np.allclose(told.origin, read.origin)) if any(told.origin) else None,
    "channel names": lambda told, read: told.channels == read.channels,
    "colours": lambda told, read: _colours(told) == _colours(read),
    "missing value": lambda told, read: told.missing == read.missing,
    "CRS": lambda told, read: _same_system(told, read) if told.about.crs else None,
    "affine": lambda told, read: told.about.affine == read.about.affine if told.about.affine else None,
    "value scale": lambda told, read: (
        (told.about.value_scale, told.about.value_offset) == (read.about.value_scale, read.about.value_offset)
    ),
    "time": lambda told, read: told.about.acquired == read.about.acquired,
    "other attributes": lambda _, read: _said(read),
    "pyramid": lambda _, read: read.levels > 1,
}


def kept(write: Writer, told: Volume) -> dict[str, bool | None]:
    """Write a volume, read it, and tell of every field whether it is the same."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of xarray, about formats that are not settled
        read = open_volume(write(Path(folder), told))
        np.testing.assert_array_equal(np.squeeze(voxels(read)), np.squeeze(voxels(told)))
        return {name: is_kept(told, read) for name, is_kept in KEPT.items()}


def row(write: Writer, volumes: Mapping[str, Callable[[], Volume]]) -> list[str]:
    """Return a cell for each field: kept by every volume that says it."""
    found = [kept(write, make()) for make in volumes.values()]
    answers = [[each[name] for each in found if each[name] is not None] for name in KEPT]
    return [(YES if all(answer) else NO) if answer else NOT_ASKED for answer in answers]


def table(formats: Mapping[str, tuple[Writer, Mapping[str, Callable[[], Volume]]]]) -> str:
    """Return the table of some formats as Markdown."""
    lines = [["format", *KEPT], ["---"] * (1 + len(KEPT))]
    lines += [[name, *row(write, volumes)] for name, (write, volumes) in formats.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(text: str) -> str:
    """Return a page with its tables written anew."""
    for name, formats in (("in", IN), ("out", OUT)):
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        _, _, after = rest.partition(f"<!-- end {name} -->")
        text = f"{before}<!-- {name} -->\n{table(formats)}\n<!-- end {name} -->{after}"
    before, _, rest = text.partition("<!-- said -->\n")
    return f"{before}<!-- said -->\n{said.table()}\n<!-- end said -->{rest.partition('<!-- end said -->')[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
