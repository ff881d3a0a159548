"""Arrays that lie plain in a file: every region is right; a file that becomes shorter is an error, no dead process."""

import os

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from ilcore.formats import plain_file
from ilcore.formats.open import open_volume
from ilcore.formats.plain_file import PlainArray
from ilcore.grammar.errors import BadVolume, CorruptData
from ilcore.grammar.region import whole


@given(data=st.data(), gap=st.sampled_from([0, 8192]), is_fortran=st.booleans(), dtype=st.sampled_from(["u1", ">f4"]))
def test_every_region_is_that_of_the_array(tmp_path_factory, data, gap, is_fortran, dtype):
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=5)))
    array = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    path = tmp_path_factory.mktemp("plain") / "a"
    path.write_bytes(b"xyz" + array.tobytes("F" if is_fortran else "C"))
    spans = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    index = tuple(slice(*span) for span in spans)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_file, "GAP_BYTES", gap)
        found = PlainArray(str(path), array.dtype, 3, shape, is_fortran).read(index)
    np.testing.assert_array_equal(found, array[index])


def save_npy(path, array):
    np.save(path, array)


def save_npz(path, array):
    np.savez(path, a=array)


def save_tiff(path, array):
    tifffile.imwrite(path, array, photometric="minisblack")


@pytest.mark.parametrize(("name", "save"), [("a.npy", save_npy), ("a.npz", save_npz), ("a.tif", save_tiff)])
def test_a_file_that_becomes_shorter_while_it_is_read_is_told(tmp_path, name, save):
    array = np.ones((8, 256, 256), "u2")
    save(tmp_path / name, array)
    volume = open_volume(tmp_path / name, axes="zyx")
    volume.read(whole(volume.shape))
    os.truncate(tmp_path / name, 100_000)
    with pytest.raises(CorruptData, match="shorter"):
        volume.read(whole(volume.shape))
    with pytest.raises(BadVolume):
        open_volume(tmp_path / name, axes="zyx")
