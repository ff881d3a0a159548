"""Every format obeys the same laws: what is stored does not show in what is read."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from ilcore.formats.open import from_array, open_volume
from ilcore.grammar.errors import BadInput
from ilcore.grammar.region import blocks, slices, whole
from ilcore.volumes.axes import to_five
from ilcore.volumes.volume import Volume


@dataclass(frozen=True)
class Format:
    """How to store an array, and what must come back besides the voxels."""

    store: Callable[[Path, np.ndarray], Path]
    axes: str
    shape: tuple[int, ...]
    dtype: str = "uint16"
    name: str = ""
    scale: tuple[float, ...] = ()
    units: tuple[str | None, ...] = ()
    told_axes: str | None = None

    def array(self, seed: int = 0) -> np.ndarray:
        random = np.random.default_rng(seed)
        dtype = np.dtype(self.dtype)
        if dtype.kind == "f":
            return random.normal(size=self.shape).astype(dtype)
        info = np.iinfo(dtype)
        return random.integers(
            info.min, info.max, size=self.shape, endpoint=True, dtype=dtype.newbyteorder("=")
        ).astype(dtype)

    def open(self, folder: Path, array: np.ndarray) -> Volume:
        return open_volume(self.store(folder, array), axes=self.told_axes)


def npy(folder, array):
    path = folder / "a.npy"
    np.save(path, array)
    return path


def plain_zarr(**settings):
    def store(folder, array):
        path = folder / "a.zarr"
        zarr.create_array(store=str(path), shape=array.shape, dtype=array.dtype, **settings)[...] = array
        return path

    return store


def tiff(**settings):
    def store(folder, array):
        path = folder / "a.tif"
        tifffile.imwrite(path, array, **settings)
        return path

    return store


def ome_tiff(**settings):
    def store(folder, array):
        path = folder / "a.ome.tif"
        tifffile.imwrite(path, array, **settings)
        return path

    return store


AXES_04 = [
    {"name": "t", "type": "time", "unit": "second"},
    {"name": "c", "type": "channel"},
    {"name": "z", "type": "space", "unit": "micrometer"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]


def ome_zarr_04(folder, array):
    path = folder / "a.zarr"
    zarr.create_array(
        store=str(path / "0"), shape=array.shape, dtype=array.dtype, chunks=(1, 1, 2, 20, 20), zarr_format=2
    )[...] = array
    image = {
        "version": "0.4",
        "axes": AXES_04,
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 2, 0.5, 0.5]}]}],
        "coordinateTransformations": [{"type": "scale", "scale": [4, 1, 1, 1, 1]}],
    }
    zarr.create_group(store=str(path), zarr_format=2, attributes={"multiscales": [image]})
    return path


def ome_zarr_05(folder, array):
    path = folder / "a.ome.zarr"
    zarr.create_array(store=str(path / "s0"), shape=array.shape, dtype=array.dtype, chunks=(1, 2, 16, 16))[...] = array
    steps = [{"type": "scale", "scale": [1, 0.3, 0.1, 0.1]}, {"type": "translation", "translation": [0, 0, 5, 7]}]
    image = {"axes": AXES_04[1:], "datasets": [{"path": "s0", "coordinateTransformations": steps}]}
    attributes = {"ome": {"version": "0.5", "multiscales": [image]}}
    zarr.create_group(store=str(path), zarr_format=3, attributes=attributes)
    return path


SMALL_CHUNKS = {"chunks": (3, 16, 16)}
MICRON = "micrometer"
FORMATS = {
    "npy": Format(npy, "zyx", (5, 37, 41), name="npy"),
    "npy plane": Format(npy, "yx", (37, 41), "float32", name="npy"),
    "npy big-endian": Format(npy, "czyx", (2, 3, 21, 20), ">i2", name="npy"),
    "npy told axes": Format(npy, "yxc", (37, 41, 3), "uint8", name="npy", told_axes="yxc"),
    "zarr v2": Format(plain_zarr(zarr_format=2, **SMALL_CHUNKS), "zyx", (5, 37, 41), name="zarr v2"),
    "zarr v2 big-endian": Format(plain_zarr(zarr_format=2, **SMALL_CHUNKS), "zyx", (5, 37, 41), ">f4", name="zarr v2"),
    "zarr v2 named": Format(
        plain_zarr(zarr_format=2, attributes={"_ARRAY_DIMENSIONS": ["time", "y", "x"]}, **SMALL_CHUNKS),
        "tyx",
        (5, 37, 41),
        name="zarr v2",
    ),
    "zarr v3": Format(plain_zarr(**SMALL_CHUNKS), "zyx", (5, 37, 41), "int8", name="zarr v3"),
    "zarr v3 big-endian": Format(
        plain_zarr(serializer=zarr.codecs.BytesCodec(endian="big"), **SMALL_CHUNKS), "zyx", (5, 37, 41), name="zarr v3"
    ),
    "zarr v3 sharded": Format(
        plain_zarr(chunks=(2, 8, 8), shards=(4, 32, 32)), "zyx", (5, 37, 41), "float64", name="zarr v3"
    ),
    "zarr v3 named": Format(
        plain_zarr(chunks=(16, 16, 1), dimension_names=("X", "y", "C")), "xyc", (41, 37, 2), name="zarr v3"
    ),
    "ome-zarr 0.4": Format(
        ome_zarr_04,
        "tczyx",
        (2, 2, 3, 37, 41),
        name="ome-zarr 0.4",
        scale=(4, 1, 2, 0.5, 0.5),
        units=("second", None, MICRON, MICRON, MICRON),
    ),
    "ome-zarr 0.5": Format(
        ome_zarr_05,
        "czyx",
        (2, 3, 37, 41),
        "uint8",
        name="ome-zarr 0.5",
        scale=(1, 1, 0.3, 0.1, 0.1),
        units=(None, None, MICRON, MICRON, MICRON),
    ),
    "tiff": Format(tiff(metadata={"axes": "ZYX"}), "zyx", (5, 37, 41), name="tiff"),
    "tiff without metadata": Format(tiff(metadata=None), "zyx", (5, 37, 41), name="tiff"),
    "tiff big-endian": Format(tiff(byteorder=">"), "zyx", (5, 37, 41), "int16", name="tiff"),
    "tiff big-endian lzw": Format(tiff(byteorder=">", compression="lzw"), "zyx", (5, 37, 41), "int16", name="tiff"),
    "tiff lzw": Format(tiff(compression="lzw", predictor=True), "zyx", (5, 37, 41), name="tiff"),
    "tiff lzw strips": Format(tiff(compression="lzw", rowsperstrip=7), "zyx", (5, 37, 41), name="tiff"),
    "tiff deflate tiles": Format(
        tiff(compression="deflate", tile=(16, 16), metadata={"axes": "CYX"}),
        "cyx",
        (2, 37, 41),
        "float32",
        name="tiff",
    ),
    "tiff colour": Format(tiff(photometric="rgb"), "yxc", (37, 41, 3), "uint8", name="tiff"),
    "tiff centimetres": Format(
        tiff(resolution=(1e4, 2e4), resolutionunit="CENTIMETER"),
        "yx",
        (37, 41),
        name="tiff",
        scale=(1, 1, 1, 0.5, 1),
        units=(None, None, None, MICRON, MICRON),
    ),
    "imagej": Format(
        tiff(imagej=True, resolution=(10, 5), metadata={"axes": "TZCYX", "spacing": 0.5, "unit": "um", "finterval": 3}),
        "tzcyx",
        (2, 3, 2, 37, 41),
        name="imagej tiff",
        scale=(3, 1, 0.5, 0.2, 0.1),
        units=("second", None, MICRON, MICRON, MICRON),
    ),
    "ome-tiff": Format(
        ome_tiff(
            compression="deflate",
            metadata={
                "axes": "CZYX",
                "PhysicalSizeX": 65.0,
                "PhysicalSizeXUnit": "nm",
                "PhysicalSizeY": 0.07,
                "PhysicalSizeZ": 0.2,
                "Channel": {"Name": ["DAPI", "GFP"]},
            },
        ),
        "czyx",
        (2, 4, 37, 41),
        name="ome-tiff",
        scale=(1, 1, 0.2, 0.07, 65.0),
        units=(None, None, MICRON, MICRON, "nanometer"),
    ),
}


@pytest.fixture(params=FORMATS, name="form")
def _form(request):
    return FORMATS[request.param]


@pytest.fixture(name="array")
def _array(form):
    return form.array()


@pytest.fixture(name="volume")
def _volume(form, array, tmp_path):
    return form.open(tmp_path, array)


def test_shape_axes_type_and_format_are_told(form, array, volume):
    assert volume.axes == form.axes
    assert volume.shape == to_five(array, form.axes).shape
    assert volume.dtype == array.dtype.newbyteorder("=")
    assert volume.dtype.isnative
    assert volume.format == form.name
    assert volume.missing is None
    assert all(1 <= chunk <= length for chunk, length in zip(volume.chunks, volume.shape, strict=True))
    assert len(volume.channels) == volume.shape[1]


def test_scale_and_units_are_told(form, volume):
    assert volume.scale == pytest.approx(form.scale or (1.0,) * 5)
    assert volume.units == (form.units or (None,) * 5)


def test_reading_any_region_equals_slicing(form, array, volume):
    wanted = to_five(array, form.axes)
    random = np.random.default_rng(1)
    for _ in range(12):
        corners = [sorted(random.integers(0, length + 1, size=2)) for length in volume.shape]
        region = tuple((int(low), int(high)) for low, high in corners)
        found = volume.read(region)
        assert found.dtype == volume.dtype
        np.testing.assert_array_equal(found, wanted[slices(region)])
    np.testing.assert_array_equal(volume.read(whole(volume.shape)), wanted)


def test_single_voxels_at_the_corners_are_read(form, array, volume):
    wanted = to_five(array, form.axes)
    for first in (True, False):
        region = tuple((0, 1) if first else (length - 1, length) for length in volume.shape)
        np.testing.assert_array_equal(volume.read(region), wanted[slices(region)])


def test_what_is_read_may_be_written_to(volume):
    block = volume.read(whole(volume.shape))
    before = block.copy()
    block[...] = 7
    np.testing.assert_array_equal(volume.read(whole(volume.shape)), before)


def test_a_region_outside_is_refused(volume):
    outside = tuple((0, length + 1) for length in volume.shape)
    with pytest.raises(BadInput, match="a region inside the volume"):
        volume.read(outside)
    with pytest.raises(BadInput, match="a region inside the volume"):
        volume.read(tuple((-1, length) for length in volume.shape))


def test_a_pickled_volume_reads_the_same_before_and_after_its_first_read(volume):
    untouched = pickle.loads(pickle.dumps(volume))
    block = volume.read(whole(volume.shape))
    touched = pickle.dumps(volume)
    assert len(touched) < 5000
    for copy in (untouched, pickle.loads(touched)):
        assert copy == volume
        np.testing.assert_array_equal(copy.read(whole(volume.shape)), block)


def test_the_digest_is_stable_and_sees_every_voxel(form, array, volume, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    assert form.open(again, array).digest() == volume.digest() == volume.digest()
    changed = array.copy()
    last = tuple(length - 1 for length in array.shape)
    changed[last] = 0 if changed[last] else 1
    other = tmp_path / "other"
    other.mkdir()
    assert form.open(other, changed).digest() != volume.digest()


def test_streaming_covers_every_voxel_once(volume, monkeypatch):
    monkeypatch.setattr("ilcore.volumes.volume.STREAM_BYTES", 4096)
    seen = np.zeros(volume.shape, dtype=int)
    for region, block in volume.stream():
        seen[slices(region)] += 1
        assert block.shape == seen[slices(region)].shape
    assert (seen == 1).all()
    assert len(list(volume.stream())) > 1 or volume.chunks == volume.shape


def test_an_array_in_memory_has_the_same_face():
    array = np.arange(2 * 3 * 5 * 7, dtype=">u2").reshape(2, 3, 5, 7)
    volume = from_array(array, "czyx", scale=(1, 3, 1, 1), units=(None, MICRON, MICRON, MICRON), channels=("a", "b"))
    assert volume.shape == (1, 2, 3, 5, 7)
    assert volume.scale == (1, 1, 3, 1, 1)
    assert volume.channels == ("a", "b")
    assert volume.dtype == np.uint16
    for region in blocks(volume.shape, (1, 1, 2, 3, 4)):
        np.testing.assert_array_equal(volume.read(region), array[None][slices(region)])
    copy = pickle.loads(pickle.dumps(volume))
    assert copy.digest() == volume.digest()
    assert from_array(array, "tzyx").digest() != volume.digest()
