"""Whatever the type, shape, order of axes and format: reading any region equals slicing in numpy."""

import tempfile
from pathlib import Path

import numpy as np
import tifffile
import zarr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ilcore.formats.open import open_volume
from ilcore.grammar.region import slices
from ilcore.volumes.axes import to_five

TYPES = [f"{order}{kind}" for kind in ("u2", "i2", "i4", "u4", "f4", "f8") for order in "<>"] + ["u1", "i1", "u8", "i8"]
TIFF_TYPES = [name for name in TYPES if name[-1] != "8" or "f" in name]


def save_npy(path, array, axes):
    np.save(path / "a.npy", array)
    return path / "a.npy"


def save_npz(path, array, axes):
    np.savez(path / "a.npz", array)
    return path / "a.npz"


def save_zarr(version):
    def save(path, array, axes):
        named = {"dimension_names": tuple(axes)} if version == 3 else {"attributes": {"_ARRAY_DIMENSIONS": list(axes)}}
        chunks = tuple(min(3, length) for length in array.shape)
        made = zarr.create_array(
            store=str(path / "a.zarr"),
            shape=array.shape,
            dtype=array.dtype,
            chunks=chunks,
            zarr_format=version,
            **named,
        )
        made[...] = array
        return path / "a.zarr"

    return save


def save_tiff(path, array, axes):
    order = array.dtype.byteorder if array.dtype.byteorder in "<>" else "="
    tifffile.imwrite(
        path / "a.tif",
        array,
        photometric="minisblack",
        metadata={"axes": axes.upper()},
        byteorder=order.replace("=", "<"),
    )
    return path / "a.tif"


def save_ome_tiff(path, array, axes):
    tifffile.imwrite(path / "a.ome.tif", array, photometric="minisblack", metadata={"axes": axes.upper()})
    return path / "a.ome.tif"


ANY_ORDER = {"npy": save_npy, "npz": save_npz, "zarr v2": save_zarr(2), "zarr v3": save_zarr(3)}
PLANES_LAST = {"tiff": save_tiff, "ome-tiff": save_ome_tiff}


@st.composite
def volumes(draw, types, last=""):
    """An array of any type, small, with huge offsets and single voxels; its axes end on `last`."""
    others = draw(st.sets(st.sampled_from("tcz")))
    free = draw(st.permutations(sorted(others | (set("yx") - set(last)))))
    axes = "".join(free) + last
    shape = tuple(draw(st.integers(1, 5)) for _ in axes)
    dtype = np.dtype(draw(st.sampled_from(types)))
    array = draw(hnp.arrays(dtype.newbyteorder("="), shape, fill=st.nothing()))
    return array.astype(dtype), axes


def check(save, array, axes, data, told):
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder), array, axes)
        volume = open_volume(path, axes=told)
        wanted = to_five(array, axes)
        assert (volume.shape, volume.dtype) == (wanted.shape, array.dtype.newbyteorder("="))
        for _ in range(3):
            ends = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in wanted.shape]
            region = tuple((low, high) for low, high in ends)
            np.testing.assert_array_equal(volume.read(region), wanted[slices(region)])


@settings(max_examples=60, deadline=None)
@given(volumes(TYPES), st.sampled_from(sorted(ANY_ORDER)), st.data())
def test_any_order_of_axes(held, kind, data):
    check(ANY_ORDER[kind], *held, data, told=held[1])


@settings(max_examples=40, deadline=None)
@given(volumes(TIFF_TYPES, "yx"), st.sampled_from(sorted(PLANES_LAST)), st.data())
def test_stacks_of_planes(held, kind, data):
    array, axes = held
    # tifffile cannot write OME-TIFF of a single row or column.
    assume(kind != "ome-tiff" or min(array.shape[-2:]) > 1)
    # The file itself says which axes are left: tifffile leaves out those of length 1.
    check(PLANES_LAST[kind], array, axes, data, told=None)
