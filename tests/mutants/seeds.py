"""Small sound volumes of every format that is read; what mutates them stands in `mutations`."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import tifffile
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

ARRAY = np.random.default_rng(0).integers(90, 120, (3, 48, 40)).astype("u2")
PICTURE = ARRAY[0].astype("u1")
STEP = {"type": "scale", "scale": [0.5, 0.1, 0.1]}
AXES = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
GEO_TAGS = [
    (33550, "d", 3, (10.0, 10.0, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 5e6, 0.0), True),
    (34735, "H", 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633), True),
    (42113, "s", 0, "0", True),
]
Seed = Callable[[Path], Path]


def tiff(array: Any = ARRAY, **said: Any) -> Seed:
    def write(folder: Path) -> Path:
        name = "a.ome.tif" if said.get("ome") else "a.tif"
        tifffile.imwrite(folder / name, array, **{"photometric": "minisblack", **said})
        return folder / name

    return write


def pyramid(folder: Path) -> Path:
    with tifffile.TiffWriter(folder / "a.ome.tif", ome=True) as to:
        to.write(ARRAY, tile=(16, 16), compression="deflate", subifds=1, metadata={"axes": "ZYX"})
        to.write(ARRAY[:, ::2, ::2], tile=(16, 16), compression="deflate", subfiletype=1)
    return folder / "a.ome.tif"


def companion(folder: Path) -> Path:
    space = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    only = '<BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:b"/>'
    said = f'<?xml version="1.0"?><OME xmlns="{space}" UUID="urn:uuid:a">{only}</OME>'
    tifffile.imwrite(folder / "a.ome.tif", ARRAY, metadata=None, description=said, photometric="minisblack")
    (folder / "a.companion.ome").write_text(
        f'<?xml version="1.0"?><OME xmlns="{space}" UUID="urn:uuid:b"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint16" SizeX="40" SizeY="48" SizeZ="3" SizeC="1" SizeT="1" PhysicalSizeX="0.1">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="3"><UUID FileName="a.ome.tif">'
        "urn:uuid:a</UUID></TiffData></Pixels></Image></OME>"
    )
    return folder / "a.ome.tif"


def several(folder: Path) -> Path:
    with tifffile.TiffWriter(folder / "a.tif") as to:
        to.write(ARRAY, compression="lzw", photometric="minisblack")
        to.write(PICTURE, photometric="minisblack")
    return folder / "a.tif"


def beside(folder: Path) -> Path:
    """A TIFF whose place on the Earth stands in files beside it."""
    tifffile.imwrite(folder / "a.tif", ARRAY[0], metadata=None, photometric="minisblack")
    (folder / "a.tfw").write_text("10.0\n0.0\n0.0\n-10.0\n500005.0\n4999995.0\n")
    (folder / "a.tif.aux.xml").write_text(
        '<PAMDataset><SRS>EPSG:32633</SRS><Metadata><MDI key="a">1</MDI></Metadata><PAMRasterBand band="1">'
        "<NoDataValue>0</NoDataValue></PAMRasterBand></PAMDataset>"
    )
    return folder / "a.tif"


def npy(folder: Path) -> Path:
    np.save(folder / "a.npy", np.asfortranarray(ARRAY))
    return folder / "a.npy"


def npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", a=ARRAY)
    return folder / "a.npz"


def npz_packed(folder: Path) -> Path:
    np.savez_compressed(folder / "a.npz", a=ARRAY, b=PICTURE)
    return folder / "a.npz"


def array(zarr_format: int, **said: Any) -> Seed:
    def write(folder: Path) -> Path:
        made = {"shape": ARRAY.shape, "dtype": "u2", "chunks": (2, 16, 16), "zarr_format": zarr_format}
        zarr.create_array(folder / "a.zarr", **{**made, **said})[...] = ARRAY
        return folder / "a.zarr"

    return write


def ome_zarr(zarr_format: int) -> Seed:
    def write(folder: Path) -> Path:
        image(folder / "a.ome.zarr", zarr_format)
        return folder / "a.ome.zarr"

    return write


def image(path: Path, zarr_format: int) -> None:
    levels = [{"path": str(at), "coordinateTransformations": [STEP]} for at in (0, 1)]
    said = {"multiscales": [{"version": "0.4", "axes": AXES, "datasets": levels}]}
    shown = {"omero": {"channels": [{"label": "a", "color": "FF0000", "window": {"start": 0, "end": 9}}]}}
    held = {**said, **shown}
    attributes = {"ome": {"version": "0.5", **held}} if zarr_format == 3 else held
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format, attributes=attributes)
    for name, voxels in (("0", ARRAY), ("1", ARRAY[:, ::2, ::2])):
        group.create_array(name, shape=voxels.shape, dtype="u2", chunks=(1, 16, 16))[...] = voxels


def plate(folder: Path) -> Path:
    path = folder / "a.ome.zarr"
    wells = {"rows": [{"name": "A"}], "columns": [{"name": "1"}], "version": "0.5"}
    told = {**wells, "wells": [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}]}
    zarr.create_group(path, attributes={"ome": {"version": "0.5", "plate": told}})
    zarr.create_group(path / "A" / "1", attributes={"ome": {"version": "0.5", "well": {"images": [{"path": "0"}]}}})
    image(path / "A" / "1" / "0", 3)
    return path


def dataset(zarr_format: int) -> Seed:
    """A dataset as xarray writes it: coordinates, times, a grid mapping, a mark for missing values."""

    def write(folder: Path) -> Path:
        path = folder / "a.zarr"
        group = zarr.open_group(path, mode="w", zarr_format=zarr_format, attributes={"title": "a"})
        names = ("time", "y", "x")
        _variable(group, "band", ARRAY, names, {"_FillValue": 0, "scale_factor": 0.1, "grid_mapping": "spatial_ref"})
        _variable(group, "time", np.arange(3), names[:1], {"units": "days since 2020-01-01", "calendar": "noleap"})
        _variable(group, "y", 5e6 - 10.0 * np.arange(48), ("y",), {"units": "m"})
        _variable(group, "x", 5e5 + 10.0 * np.arange(40) ** 1.1, ("x",), {"units": "m"})
        mapping = {"grid_mapping_name": "latitude_longitude", "GeoTransform": "5e5 10 0 5e6 0 -10"}
        _variable(group, "spatial_ref", np.zeros((), "i4"), (), mapping)
        return path

    return write


def _variable(group: Any, name: str, values: Any, dims: tuple[str, ...], said: Mapping[str, Any]) -> None:
    more = {"dimension_names": dims} if group.metadata.zarr_format == 3 else {}
    old = {} if more else {"_ARRAY_DIMENSIONS": list(dims)}
    held = group.create_array(name, shape=values.shape, dtype=values.dtype, attributes={**said, **old}, **more)
    held[...] = values


def geozarr(folder: Path) -> Path:
    said = {
        "proj:code": "EPSG:32633",
        "spatial:transform": [10, 0, 5e5, 0, -10, 5e6],
        "spatial:dimensions": ["y", "x"],
        "multiscales": {"layout": [{"asset": "0"}, {"asset": "1", "derived_from": "0"}]},
    }
    group = zarr.open_group(folder / "a.zarr", mode="w", attributes=said)
    for name, voxels in (("0", ARRAY[0]), ("1", ARRAY[0, ::2, ::2])):
        _variable(group, name, voxels, ("y", "x"), {})
    return folder / "a.zarr"


def raster(name: str, **said: Any) -> Seed:
    def write(folder: Path) -> Path:
        import rasterio

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(folder / name, "w", count=1, height=48, width=40, dtype="uint8", **said) as to:
                to.write(PICTURE, 1)
        return folder / name

    return write


def patch(folder: Path) -> Path:
    path = folder / "patch"
    (path / "data").mkdir(parents=True)
    np.save(path / "data" / "BANDS.npy", np.ones((2, 12, 14, 3), "f4"))
    (path / "timestamps.json").write_text(json.dumps(["2020-01-01T00:00:00", "2020-01-06T00:00:00"]))
    corners = [[[5e5, 5e6], [6e5, 5e6], [6e5, 6e6], [5e5, 5e6]]]
    system = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    (path / "bbox.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": corners, "crs": system}))
    return path


IMAGEJ = {"axes": "ZYX", "spacing": 0.5, "unit": "um"}
OME = {"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "Channel": {"Name": ["DAPI"]}}
BYTES = ("lzw", "deflate", "packbits", "zstd", "lzma")
PICTURES = ("jpeg", "jpeg2000", "png", "jpegxl", "jpegxr", "lerc")
V2 = {
    "zlib": numcodecs.Zlib(), "gzip": numcodecs.GZip(), "bz2": numcodecs.BZ2(), "lzma": numcodecs.LZMA(),
    "blosc": numcodecs.Blosc(), "lz4": numcodecs.LZ4(), "zstd": numcodecs.Zstd(), "none": None,
}  # fmt: skip
SEEDS: dict[str, Seed] = {
    "tiff": tiff(),
    "tiff colour": tiff(np.stack([PICTURE] * 3, -1), photometric="rgb", compression="webp", tile=(16, 16)),
    "bigtiff": tiff(bigtiff=True, metadata=None),
    "big-endian": tiff(byteorder=">", compression="lzw", predictor=True),
    "imagej": tiff(imagej=True, metadata=IMAGEJ, resolution=(10, 10)),
    "ome-tiff": tiff(ome=True, metadata=OME, compression="deflate"),
    "geotiff": tiff(ARRAY[0], metadata=None, extratags=GEO_TAGS, tile=(16, 16), compression="deflate"),
    "pyramid": pyramid, "companion": companion, "several": several, "beside": beside,
    "npy": npy, "npz": npz, "npz packed": npz_packed,
    "ome-zarr 0.4": ome_zarr(2), "ome-zarr 0.5": ome_zarr(3), "plate": plate,
    "dataset v2": dataset(2), "dataset v3": dataset(3), "geozarr": geozarr,
    "v3 zstd": array(3, compressors=ZstdCodec()), "v3 gzip": array(3, compressors=GzipCodec()),
    "v3 blosc": array(3, compressors=BloscCodec(typesize=2)),
    "v3 sharded": array(3, shards=(4, 32, 32), compressors=ZstdCodec()),
    "v3 sharded gzip": array(3, shards=(4, 32, 32), compressors=GzipCodec()),
    "v3 lzma": array(3, compressors={"name": "numcodecs.lzma", "configuration": {}}),
    "v2 filters": array(2, filters=(numcodecs.Delta("<u2"), numcodecs.Shuffle(2)), compressors=numcodecs.Zlib()),
    "patch": patch,
    "jpeg 2000": raster("a.jp2", driver="JP2OpenJPEG"), "png": raster("a.png", driver="PNG"),
    **{f"tiff {name}": tiff(tile=(16, 16), compression=name) for name in BYTES},
    **{f"tiff {name}": tiff(PICTURE, tile=(16, 16), compression=name) for name in PICTURES},
    **{f"v2 {name}": array(2, compressors=codec) for name, codec in V2.items()},
}  # fmt: skip
