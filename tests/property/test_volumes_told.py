"""Nothing that a source says is lost: written as a result, and exported again, every field comes back."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from ilcore.formats.open import from_array, open_volume
from ilcore.results.export import export_volume
from ilcore.volumes.georeference import sides, unit_of, wkt2_of
from ilcore.volumes.scan_metadata import About
from tests.told import FIELDS, RESULT_FORMATS, channel, store, voxels

TYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")
SYSTEMS = [wkt2_of(code) for code in ("EPSG:32633", "EPSG:4326", "EPSG:3857", "ESRI:54030")] + [None]
NUMBER = st.floats(-1e7, 1e7, allow_subnormal=False)
SIZE = st.floats(1e-4, 1e4)
WORD = st.text("abcXYZ 019_-µé<&>'\"{}/", min_size=1, max_size=8).filter(lambda word: word.strip() == word)
KEY = st.text("abcdefgh", min_size=1, max_size=6).map("my_{}".format)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | NUMBER | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3),
    max_leaves=5,
)
MOMENTS = st.datetimes().map(lambda moment: moment.isoformat()) | st.just("2024-05-06T07:08:09.250000+02:00")
COLOUR = st.integers(0, 2**24 - 1).map("{:06X}".format)


@st.composite
def affines(draw):
    a, e = draw(SIZE), draw(SIZE)
    b, d = draw(st.sampled_from([(0.0, 0.0), (0.25 * a, -0.5 * e)]))
    return (a, b, draw(NUMBER), d, draw(st.sampled_from([-1, 1])) * e, draw(NUMBER))


@st.composite
def abouts(draw, values=JSON):
    said = draw(st.none() | st.dictionaries(KEY, values, min_size=1, max_size=3))
    scale, offset = draw(st.just((1.0, 0.0)) | st.tuples(SIZE, NUMBER))
    return About(
        crs=draw(st.sampled_from(SYSTEMS)),
        affine=draw(st.none() | affines()),
        value_scale=scale,
        value_offset=offset,
        acquired=draw(st.none() | MOMENTS),
        attributes=None if said is None else json.dumps(said, sort_keys=True),
    )


@st.composite
def volumes(draw, axes=("tczyx", "zyx", "cyx", "yx", "czyx", "tyx"), values=JSON):
    """A small volume with all that it may say; axes are at least two voxels long, as some formats drop others."""
    names, dtype = draw(st.sampled_from(axes)), np.dtype(draw(st.sampled_from(TYPES)))
    shape = [draw(st.integers(2, 3 if axis in "tcz" else 18)) for axis in names]
    array = (np.arange(np.prod(shape)).reshape(shape) % 100).astype(dtype)
    units = {"t": "second", "c": None} | {axis: draw(st.sampled_from([None, "micrometer", "meter"])) for axis in "zyx"}
    channels = draw(st.lists(WORD, min_size=shape[names.index("c")], max_size=shape[names.index("c")])) if "c" in names else ("channel 0",)  # fmt: skip  # noqa: E501
    colours = [channel(label, draw(COLOUR)) for label in channels]
    volume = from_array(
        array, names, channels=channels, units=[units[axis] for axis in names],
        scale=[1.0 if axis == "c" else draw(SIZE) for axis in names],
        missing=draw(st.none() | st.sampled_from([0, 7]) | (st.just(-0.5) if dtype.kind == "f" else st.nothing())),
    )  # fmt: skip
    return replace(
        volume,
        origin=tuple(draw(NUMBER) if axis in names and axis != "c" else 0.0 for axis in "tczyx"),
        display=draw(st.none() | st.just(json.dumps({"channels": colours}, sort_keys=True))),
        about=draw(abouts(values)),
    )


def differing(one, other, fields):
    """The fields in which two volumes differ; settings for display that nobody gave are made up and may be anything."""
    asked = [name for name in fields if name != "display" or one.display is not None]
    return {name: (getattr(one, name), getattr(other, name)) for name in asked if getattr(one, name) != getattr(other, name)}  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("result_format", RESULT_FORMATS)
def test_a_result_says_what_its_source_said(result_format):
    @settings(max_examples=35, deadline=None)
    @given(volumes())
    def holds(volume):
        with tempfile.TemporaryDirectory() as folder:
            found = store(f"{folder}/a", volume, result_format, attributes={"ilcore": {"fingerprint": "1"}})
            assert differing(volume, found, FIELDS) == {}
            assert found.format == result_format
            np.testing.assert_array_equal(voxels(found), voxels(volume))
            # What was made up for display is kept from then on.
            again = store(f"{folder}/b", found, RESULT_FORMATS[0])
            assert differing(found, again, FIELDS) == {}

    holds()


@settings(max_examples=25, deadline=None)
@given(volumes())
def test_an_ome_tiff_says_what_its_source_said(volume):
    with tempfile.TemporaryDirectory() as folder:
        store(f"{folder}/a.zarr", volume)
        found = open_volume(export_volume(f"{folder}/a.zarr", f"{folder}/a.ome.tif"))
        assert differing(volume, found, FIELDS) == {}
        assert found.format == "ome-tiff"
        np.testing.assert_array_equal(voxels(found), voxels(volume))


@settings(max_examples=20, deadline=None)
@given(volumes(axes=("cyx", "yx"), values=WORD), affines())
def test_a_cog_says_what_its_source_said(volume, affine):
    height, width = sides(affine)
    unit = unit_of(volume.about.crs)
    placed = replace(
        volume, about=replace(volume.about, affine=affine), scale=(1.0, 1.0, 1.0, height, width),
        units=(None, None, None, unit, unit),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        store(f"{folder}/a.zarr", placed)
        found = open_volume(export_volume(f"{folder}/a.zarr", Path(folder) / "a.tif"))
        assert found.format == "geotiff"
        assert differing(placed, found, ("channels", "missing", "units")) == {}
        assert found.scale == pytest.approx(placed.scale)
        assert found.about.affine == pytest.approx(affine, rel=1e-9)
        same = {"affine": None, "crs": None}
        assert replace(found.about, **same) == replace(placed.about, **same)
        # The codes of GeoTIFF name a system in shorter words.
        assert (found.about.crs is None) == (placed.about.crs is None)
        if placed.about.crs is not None:
            assert CRS.from_wkt(found.about.crs) == CRS.from_wkt(placed.about.crs)
        np.testing.assert_array_equal(voxels(found), voxels(placed))
