"""A mark for missing values is read in the type of the voxels; what the type cannot hold is no mark, and is told."""

import json

import numpy as np
import pytest
import tifffile
import zarr

from ilcore.formats.open import open_volume
from ilcore.planning.make import plan_restoration
from ilcore.volumes.marks import marks_in
from tasks.describe import describe
from tests.restored import level, noisy_scene, restored

LEAST = -3.4028234663852886e38
NODATA = 42113


@pytest.mark.parametrize(
    ("said", "dtype", "marks"),
    [
        ("-3.4028234663852886e+38", "f4", (LEAST,)),
        ("-3.40282346638528898e+38\0", "f4", (LEAST,)),
        ("-3.40282347e+38", "f4", (LEAST,)),
        ("-3.40282e+38", "f4", (-3.402820018375656e38, LEAST)),
        ("-3.4e+38", "f4", (float(np.float32(-3.4e38)),)),
        ("0.1", "f4", (float(np.float32(0.1)),)),
        ("-1.7976931348623157e+308", "f8", (-1.7976931348623157e308,)),
        ("9223372036854775807", "i8", (2**63 - 1,)),
        (2**53 + 1, "i8", (2**53 + 1,)),
        ("18446744073709551615.0", "u8", (2**64 - 1,)),
        ("1e3", "i2", (1000,)),
        (" 255.0 ", "u1", (255,)),
        ("-9999, -8888", "i2", (-9999, -8888)),
        ([["-9999"], -8888.0], "i2", (-9999, -8888)),
        ("AAAAAICHw8A=", "f4", (-9999.0,)),
        ("nan", "f4", ()),
        ("-nan(ind)", "f4", ()),
        ("-1.#IND", "f4", ()),
        ("1.#INF00", "f8", ()),
        (None, "u1", ()),
    ],
)
def test_every_form_of_a_mark_is_read(said, dtype, marks):
    assert marks_in(said, np.dtype(dtype), "mark") == (marks, ())


@pytest.mark.parametrize(
    ("said", "dtype"),
    [
        ("-9999", "u2"), (255.5, "u1"), ("nan", "u1"), (256, "u1"), ("-1.7976931348623157e+308", "f4"),
        ("1e999999999", "i4"), ("none", "f4"), (True, "u1"), ({"a": 1}, "u1"), ("70000", "f2"),
    ],
)  # fmt: skip
def test_what_the_type_cannot_hold_is_no_mark_and_is_told(said, dtype):
    marks, (remark,) = marks_in(said, np.dtype(dtype), "GDAL_NODATA")
    assert marks == ()
    assert "GDAL_NODATA" in remark
    assert "no voxel is taken for missing" in remark


def tiff(path, values, mark, **more):
    tifffile.imwrite(path, values, metadata=None, extratags=[(NODATA, "s", 0, mark, True)], **more)
    return path


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_mark_that_tifffile_cannot_read_is_not_zero(tmp_path, compression):
    values = noisy_scene().clip(0).astype("u2")
    values[:9] = 0
    volume = open_volume(tiff(tmp_path / "a.tif", values, "-9999", compression=compression))
    assert volume.missing is None
    assert "'-9999' cannot be a uint16" in volume.remarks[0]


@pytest.mark.medium
@pytest.mark.parametrize("mark", ["-3.4028234663852886e+38", "-3.40282e+38"])
def test_holes_of_the_least_float_are_no_data(tmp_path, mark):
    values = (noisy_scene() / 1000).astype("f4")
    values[:, :20] = LEAST
    group = restored(tiff(tmp_path / "a.tif", values, mark), tmp_path / "out.ome.zarr")
    out = level(group, "0")
    assert (out[:, :20] == np.float32(LEAST)).all()
    assert np.abs(out[:, 20:]).max() < 5


def test_a_mark_beyond_two_to_the_53_is_told_apart_from_its_neighbour(tmp_path):
    values = np.full((40, 40), 2**60, "i8")
    values[0, 0], values[0, 1] = 2**60 + 1, 2**60 + 2
    zarr.create_array(str(tmp_path / "a"), data=values, attributes={"_FillValue": 2**60 + 1})
    volume = open_volume(tmp_path / "a")
    region = ((0, 1), (0, 1), (0, 1), (0, 1), (0, 3))
    assert volume.valid(region, volume.read(region)).ravel().tolist() == [False, True, True]


@pytest.mark.medium
def test_what_is_not_carried_over_is_told_everywhere(tmp_path):
    from tasks.tracking.run_payload import start_payload

    path = tiff(tmp_path / "a.tif", noisy_scene().astype("u2"), "-9999")
    plan = plan_restoration(str(path), str(tmp_path / "out.ome.zarr"), method="wavelet")
    (remark,) = plan.source.remarks
    assert describe(str(path), axes=None, level=0, missing=None)["not carried over"] == [remark]
    assert start_payload(plan, {}).tags["il.not_carried_over"] == remark
    assert remark in plan.to_yaml().replace("\n", " ").replace("''", "'") or "-9999" in plan.to_yaml()
    group = restored(path, tmp_path / "out.ome.zarr")
    assert list(group.attrs["ilcore"]["not_carried_over"]) == [remark]
    assert "-9999" not in json.dumps(group["0"].attrs.asdict())


def test_remarks_do_not_decide_the_pixels(tmp_path):
    path = tiff(tmp_path / "a.tif", noisy_scene().astype("u2"), "-9999")
    plan = plan_restoration(str(path), str(tmp_path / "out.ome.zarr"), method="wavelet")
    silent = plan.model_copy(update={"source": plan.source.model_copy(update={"remarks": ()})})
    assert silent.fingerprint == plan.fingerprint
