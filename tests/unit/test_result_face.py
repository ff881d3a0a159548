"""A finer result covers what its source covers: on the Earth, in the sample, and hole for hole."""

import json
from fractions import Fraction

import numpy as np
import pytest
import rasterio
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

from ilcore.aims.result_face import result_face
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput
from ilcore.grammar.region import whole
from ilcore.results.masks import with_holes_told
from ilcore.results.ome_zarr import create_finest, write_root
from ilcore.volumes.level import Level

FACTORS = [(1, 2, 2), (1, 3, 2), (1, Fraction(3, 2), 4)]
PLACES = [Affine(10, 0, 500_000, 0, -20, 5_000_000), Affine(8, 3, 1e5, 2, -9, 2e6)]


def geotiff(path, place):
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=24, width=30, dtype="uint16", crs="EPSG:32633", transform=place
    ) as to:
        to.write(np.ones((1, 24, 30), "uint16"))
    return path


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rasterio's own, of turned pictures
def test_the_bounds_of_a_geotiff_are_unchanged(tmp_path, place, factors):
    """Judged by rasterio, of a file that has the shape and the transform of the face."""
    source = geotiff(tmp_path / "source.tif", place)
    face = result_face(open_volume(source), factors)
    assert face.shape[3:] == (24 * factors[1], 30 * factors[2])
    with rasterio.open(
        tmp_path / "finer.tif", "w", driver="GTiff", count=1, height=face.shape[3], width=face.shape[4], dtype="uint16",
        crs=face.about.crs, transform=Affine(*face.about.affine),
    ) as to:  # fmt: skip
        to.write(np.ones((1, *face.shape[3:]), "u2"))
    with rasterio.open(source) as before, rasterio.open(tmp_path / "finer.tif") as after:
        assert tuple(after.bounds) == pytest.approx(tuple(before.bounds), rel=0, abs=1e-6)


def extent(volume):
    """Return where the first voxel begins and the last one ends, along each axis of space."""
    return [
        (first - size / 2, first + size * (count - 0.5))
        for first, size, count in list(zip(volume.origin, volume.scale, volume.shape, strict=True))[2:]
    ]


def ome_zarr(path, scale=(0.5, 0.2, 0.1), origin=(3.0, -1.0, 0.25), shape=(6, 8, 12)):
    root = zarr.create_group(path)
    root.create_array("0", shape=shape, dtype="uint16", chunks=shape)[:] = 1
    moves = [{"type": "scale", "scale": list(scale)}, {"type": "translation", "translation": list(origin)}]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    levels = [{"path": "0", "coordinateTransformations": moves}]
    root.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels}]}
    return path


@pytest.mark.parametrize("factors", [(2, 1, 1), (1, 2, 2), (2, 3, 4), (Fraction(3, 2), 2, Fraction(5, 4))])
def test_the_extent_of_an_ome_zarr_is_unchanged_and_read_back(tmp_path, factors):
    volume = open_volume(ome_zarr(tmp_path / "source.zarr"))
    face = result_face(with_holes_told(volume), factors)
    assert np.allclose(extent(face), extent(volume), rtol=0, atol=1e-12)
    root = str(tmp_path / "finer.zarr")
    made = create_finest(f"{root}/0", shape=face.shape, dtype=face.dtype, axes=face.axes, result_format="ome-zarr 0.5")
    for number in range(made.count):
        made.write(made.block(number), np.ones([stop - start for start, stop in made.block(number)], face.dtype))
    write_root(root, volume=face, levels=[Level("0", face.shape)], name="finer")
    again = open_volume(root)
    assert again.shape == face.shape
    assert again.units == volume.units
    assert np.allclose(extent(again), extent(volume), rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=100)
@given(
    st.floats(1e-3, 1e3), st.floats(-1e4, 1e4), st.integers(1, 50),
    st.integers(1, 8).flatmap(lambda q: st.integers(q, 6 * q).map(lambda p: Fraction(p, q))),
)  # fmt: skip
def test_a_step_and_its_first_middle_keep_the_extent(size, first, cells, factor):
    """The formula by itself: shape f, s/f, o + s (1/f - 1)/2."""
    count = cells * factor.denominator
    finer, moved = size / float(factor), first + size * (1 / float(factor) - 1) / 2
    assert moved - finer / 2 == pytest.approx(first - size / 2, abs=1e-6)
    assert moved + finer * (count * factor - 0.5) == pytest.approx(first + size * (count - 0.5), rel=1e-9, abs=1e-6)


def test_ground_control_stays_at_its_place(tmp_path):
    points = [GroundControlPoint(row, col, 10.0 + col, 50.0 - row) for row, col in ((0, 0), (0, 30), (24, 0), (12, 6))]
    with rasterio.open(
        tmp_path / "points.tif", "w", driver="GTiff", count=1, height=24, width=30, dtype="uint16", gcps=points,
        crs="EPSG:4326",
    ) as to:  # fmt: skip
        to.write(np.ones((1, 24, 30), "uint16"))
    volume = open_volume(tmp_path / "points.tif")
    held = json.loads(result_face(volume, (1, 2, 3)).about.attributes)
    places = [(each["properties"]["row"], each["properties"]["col"]) for each in held["gcps"]["features"]]
    assert places == [(2 * point.row, 3 * point.col) for point in points]


def test_holes_stay_where_they_are(tmp_path):
    array = np.ones((24, 30), "u2")
    array[3, 5] = array[20:, 25:] = 0
    mask = array.astype("u1") * 255
    with rasterio.open(
        tmp_path / "holes.tif", "w", driver="GTiff", count=1, height=24, width=30, dtype="uint16", transform=PLACES[0],
        crs="EPSG:32633",
    ) as to:  # fmt: skip
        to.write(array, 1)
        to.write_mask(mask)
    volume = open_volume(tmp_path / "holes.tif")
    for factors in FACTORS:
        face = result_face(volume, factors)
        rows, columns = (np.arange(n * f) / float(f) for n, f in zip((24, 30), factors[1:], strict=True))
        wanted = array[np.ix_(rows.astype(int), columns.astype(int))] > 0
        np.testing.assert_array_equal(face.shown(whole(face.shape))[0, 0, 0], wanted)
        part = ((0, 1), (0, 1), (0, 1), (5, 11), (7, 20))
        np.testing.assert_array_equal(face.shown(part)[0, 0, 0], wanted[5:11, 7:20])


def test_nothing_changes_without_a_factor_and_a_face_has_no_voxels(tmp_path):
    volume = open_volume(ome_zarr(tmp_path / "source.zarr"))
    assert result_face(volume, (1, 1, 1)) is volume
    face = result_face(volume, (1, 2, 2))
    assert (face.channels, face.units, face.dtype, face.missing) == (
        volume.channels, volume.units, volume.dtype, volume.missing,
    )  # fmt: skip
    with pytest.raises(TypeError, match="no voxels yet"):
        face.source.read((slice(0, 1),) * 3)
    with pytest.raises(BadInput, match="multiple of 5 .* got 6"):
        result_face(volume, (Fraction(6, 5), 1, 1))
