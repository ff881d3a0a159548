"""What openers understand besides voxels: pyramids, names, places, missing values, URLs."""

import numpy as np
import pytest
import tifffile
import zarr

from ilcore.formats.open import from_array, open_volume
from ilcore.grammar.region import whole
from ilcore.volumes.volume import streaming_step

OMERO = {
    "id": 1,
    "channels": [
        {"label": "DAPI", "color": "0000FF", "window": {"min": 0, "max": 255, "start": 1, "end": 200}},
        {"color": "00FF00", "window": {"min": 0, "max": 255, "start": 1, "end": 200}},
    ],
}


def pyramid_04(path, axes):
    """A two-level OME-Zarr 0.4 with Zarr v2 arrays, nested keys and both kinds of transformations."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, (2, 3, 40, 50)).astype("u1"), rng.integers(0, 255, (2, 3, 20, 25)).astype("u1")]
    for level, array in enumerate(arrays):
        zarr.create_array(
            store=str(path / str(level)),
            shape=array.shape,
            chunks=(1, 1, 16, 16),
            dtype="u1",
            zarr_format=2,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )[...] = array
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1, 2, 0.5 * 2**level, 0.25 * 2**level]},
                {"type": "translation", "translation": [0, 8, 0.25 * level, 0.125 * level]},
            ],
        }
        for level in range(2)
    ]
    whole_image = [{"type": "scale", "scale": [1, 10, 10, 10]}, {"type": "translation", "translation": [0, 0, 1, 0]}]
    image = {"version": "0.4", "axes": axes, "datasets": datasets, "coordinateTransformations": whole_image}
    zarr.create_group(store=str(path), zarr_format=2, attributes={"multiscales": [image], "omero": OMERO})
    return arrays


NAMED = [
    {"name": "c", "type": "channel"},
    {"name": "z", "type": "space", "unit": "nanometer"},
    {"name": "y", "type": "space", "unit": "nanometer"},
    {"name": "x", "type": "space"},
]


def test_a_pyramid_of_ome_zarr_04(tmp_path):
    arrays = pyramid_04(tmp_path / "a.zarr", NAMED)
    fine, coarse = (open_volume(tmp_path / "a.zarr", level=level) for level in range(2))
    assert (fine.levels, fine.level, coarse.level) == (2, 0, 1)
    assert fine.format == "ome-zarr 0.4"
    assert fine.scale == (1, 1, 20, 5, 2.5)
    assert fine.origin == (0, 0, 80, 1, 0)
    assert coarse.scale == (1, 1, 20, 10, 5)
    assert coarse.origin == (0, 0, 80, 3.5, 1.25)
    assert fine.units == (None, None, "nanometer", "nanometer", None)
    assert fine.channels == ("DAPI", "channel 1")
    assert fine.digest() != coarse.digest()
    for volume, array in zip((fine, coarse), arrays, strict=True):
        np.testing.assert_array_equal(volume.read(whole(volume.shape))[0], array)


def test_axes_of_old_ome_zarr_are_plain_letters(tmp_path):
    pyramid_04(tmp_path / "a.zarr", ["c", "z", "y", "x"])
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.axes == "czyx"
    assert volume.units == (None,) * 5


def test_one_level_opens_as_a_plain_array(tmp_path):
    arrays = pyramid_04(tmp_path / "a.zarr", NAMED)
    volume = open_volume(tmp_path / "a.zarr" / "1")
    assert (volume.format, volume.axes, volume.shape) == ("zarr v2", "czyx", (1, *arrays[1].shape))


def test_local_urls_and_paths_are_the_same(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.ones((4, 5)))
    monkeypatch.chdir(tmp_path)
    for uri in (tmp_path / "a.npy", str(tmp_path / "a.npy"), f"file://{tmp_path}/a.npy", "a.npy"):
        assert open_volume(uri).uri == str(tmp_path / "a.npy")


def test_a_remote_array_is_read_by_url():
    url = "memory://test-volumes-open/scan.zarr"
    array = np.arange(60, dtype="u2").reshape(3, 4, 5)
    zarr.create_array(store=url, shape=array.shape, chunks=(1, 4, 5), dtype="u2")[...] = array
    volume = open_volume(url)
    assert volume.uri == url
    np.testing.assert_array_equal(volume.read(whole(volume.shape))[0, 0], array)


@pytest.mark.parametrize("told", [None, 7.0])
def test_missing_values_of_the_source_unless_told_otherwise(tmp_path, told):
    zarr.create_array(store=str(tmp_path / "a.zarr"), shape=(4, 4), dtype="i2", attributes={"_FillValue": -32768})
    nodata = (42113, "s", 0, "-9999", True)
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 4), "f4"), extratags=[nodata])
    assert open_volume(tmp_path / "a.zarr", missing=told).missing == (told or -32768)
    assert open_volume(tmp_path / "a.tif", missing=told).missing == (told or -9999)


def test_the_digest_knows_what_the_voxels_mean():
    array = np.ones((3, 4, 5))
    plain = from_array(array, "zyx").digest()
    assert from_array(array, "zyx", missing=1).digest() != plain
    assert from_array(array, "zyx", scale=(2, 1, 1)).digest() != plain
    assert from_array(array.astype("f4"), "zyx").digest() != plain
    assert from_array(array.astype(">f8"), "zyx").digest() == plain


def test_the_digest_does_not_depend_on_the_place(tmp_path):
    array = np.random.default_rng(0).normal(size=(3, 40, 50))
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, array)
    assert open_volume(tmp_path / "a.npy").digest() == open_volume(tmp_path / "b.npy").digest()


def test_a_pyramidal_tiff(tmp_path):
    array = np.random.default_rng(0).integers(0, 4000, (64, 96)).astype("u2")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(array, subifds=1, tile=(32, 32), compression="lzw", resolution=(1e4, 1e4), resolutionunit=3)
        file.write(array[::2, ::2], subfiletype=1, tile=(32, 32), compression="lzw")
    fine, coarse = (open_volume(tmp_path / "a.tif", level=level) for level in range(2))
    assert (fine.levels, fine.shape, coarse.shape) == (2, (1, 1, 1, 64, 96), (1, 1, 1, 32, 48))
    assert fine.scale[3:] == (1, 1)
    assert coarse.scale[3:] == (2, 2)
    np.testing.assert_array_equal(coarse.read(whole(coarse.shape))[0, 0, 0], array[::2, ::2])
    np.testing.assert_array_equal(fine.read(whole(fine.shape))[0, 0, 0], array)


def test_only_the_pages_of_a_region_are_decoded(tmp_path, monkeypatch):
    array = np.random.default_rng(0).integers(0, 4000, (20, 64, 64)).astype("u2")
    tifffile.imwrite(tmp_path / "a.tif", array, compression="deflate", metadata={"axes": "ZYX"})
    volume = open_volume(tmp_path / "a.tif")
    read = []
    keep = tifffile.FileHandle.read

    def counted(self, size=-1, /):
        read.append(size)
        return keep(self, size)

    monkeypatch.setattr(tifffile.FileHandle, "read", counted)
    region = ((0, 1), (0, 1), (7, 9), (10, 20), (30, 50))
    np.testing.assert_array_equal(volume.read(region)[0, 0], array[7:9, 10:20, 30:50])
    read.clear()
    volume.read(region)
    assert sum(read) < 3 * 64 * 64 * 2


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [
        ("um", "micrometer"),
        ("micron", "micrometer"),
        ("\\u00B5m", "micrometer"),
        ("nm", "nanometer"),
        ("pixel", "pixel"),
        ("furlong", "furlong"),
    ],
)
def test_units_of_imagej(tmp_path, unit, wanted):
    said = {"axes": "ZYX", "spacing": 2.0, "unit": unit}
    tifffile.imwrite(tmp_path / "a.tif", np.ones((3, 8, 8), "u1"), imagej=True, resolution=(4, 4), metadata=said)
    volume = open_volume(tmp_path / "a.tif")
    assert volume.units[2:] == (wanted,) * 3
    assert volume.scale[2:] == (2, 0.25, 0.25)


def test_inches_of_a_printer_are_no_voxel_size(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((8, 8), "u1"), resolution=(72, 72), resolutionunit="INCH")
    assert open_volume(tmp_path / "a.tif").units == (None,) * 5


@pytest.mark.parametrize(
    ("shape", "chunks", "budget", "wanted"),
    [
        ((1, 1, 1, 100, 100), (1, 1, 1, 10, 10), 10_000, (1, 1, 1, 100, 100)),
        ((1, 1, 1, 100, 100), (1, 1, 1, 10, 10), 350, (1, 1, 1, 10, 30)),
        ((1, 1, 9, 100, 100), (1, 1, 4, 10, 10), 1, (1, 1, 4, 10, 10)),
        ((5, 2, 9, 20, 20), (1, 1, 4, 20, 20), 10_000, (1, 2, 12, 20, 20)),
    ],
)
def test_streaming_takes_whole_chunks_within_a_budget(monkeypatch, shape, chunks, budget, wanted):
    monkeypatch.setattr("ilcore.volumes.volume.STREAM_BYTES", budget)
    assert streaming_step(shape, chunks, 1) == wanted


def test_the_digest_of_a_huge_volume_is_one_of_a_sample(monkeypatch):
    values = np.random.default_rng(0).integers(0, 9, (40, 64, 64)).astype("u1")
    full = from_array(values).digest()
    for name, number in (("DIGEST_BYTES", values.nbytes - 1), ("SAMPLE_BYTES", 64 * 64), ("SAMPLES", 9)):
        monkeypatch.setattr(f"ilcore.volumes.volume.{name}", number)
    volume = from_array(values)
    planes = [region[2] for region in volume._sample()]
    assert 9 <= len(set(planes)) == len(planes) <= 11
    assert {(0, 1), (39, 40)} <= set(planes), "both ends are looked at"
    sampled = volume.digest()
    assert sampled.startswith("sampled-")
    assert sampled != f"sampled-{full}"
    assert from_array(values).digest() == sampled
    values[-1, 3, 5] += 1
    assert from_array(values).digest() != sampled
