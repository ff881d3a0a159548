"""What is not there is refused by name, or is no data: never zeros that an estimate sees."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
import zarr

from ilcore.formats.gdal import not_georeferenced
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import whole
from ilcore.planning.make import plan_restoration
from ilcore.results.masks import with_holes_told
from tests.restored import level, noisy_scene, restored

NS = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def ome(path, frames, announced, data="<TiffData/>", **more):
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NS}" UUID="urn:uuid:me"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="96" SizeY="96" SizeZ="2" SizeC="1" '
        f'SizeT="{announced // 2}"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
    )
    values = np.stack([noisy_scene() for _ in range(frames)]).astype("u2")
    tifffile.imwrite(path, values, description=text, metadata=None, photometric="minisblack", **more)
    return path


def shares(path):
    volume = with_holes_told(open_volume(path))
    region = whole(volume.shape)
    return volume, volume.valid(region, volume.read(region))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_frames_that_were_never_taken_are_left_out(tmp_path, compression):
    volume, valid = shares(ome(tmp_path / "a.ome.tif", 6, 10, compression=compression))
    assert volume.shape[0] == 3
    assert valid.all()
    assert "5 steps along t are announced, 3 are in the file" in volume.remarks[0]


@pytest.mark.medium
def test_planes_of_a_frame_that_was_broken_off_are_no_data(tmp_path):
    volume, valid = shares(ome(tmp_path / "a.ome.tif", 5, 10))
    assert volume.shape[:3] == (3, 1, 2)
    assert valid.mean(axis=(1, 3, 4)).tolist() == [[1, 1], [1, 1], [1, 0]]
    assert "1 of 6 pieces were never written" in volume.remarks[1]
    group = restored(tmp_path / "a.ome.tif", tmp_path / "out", method="nlm")
    assert not level(group, "0")[2, 1].any()
    assert not level(group, "mask/0")[2, 1].any()


def test_files_of_a_set_are_asked_for_by_name(tmp_path):
    here = '<TiffData IFD="0" PlaneCount="4"><UUID FileName="a.ome.tif">urn:uuid:me</UUID></TiffData>'
    gone = '<TiffData IFD="0" FirstT="2" PlaneCount="4"><UUID FileName="b.ome.tif">urn:uuid:b</UUID></TiffData>'
    path = ome(tmp_path / "a.ome.tif", 4, 8, here + gone)
    with pytest.raises(BadVolume, match=r"1 are not there: b\.ome\.tif"):
        open_volume(path)


@pytest.mark.parametrize("mark", [None, 7])
def test_tiles_of_a_sparse_raster_are_no_data(tmp_path, mark):
    with not_georeferenced(), rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", count=1, height=512, width=512, dtype="uint16", tiled=True,
        blockxsize=128, blockysize=128, sparse_ok=True, compress="deflate", nodata=mark,
    ) as to:  # fmt: skip
        to.write(noisy_scene(128).astype("u2"), 1, window=((128, 256), (0, 128)))
    _, valid = shares(tmp_path / "a.tif")
    wanted = np.zeros((512, 512), bool)
    wanted[128:256, :128] = True
    assert (valid[0, 0, 0] == wanted).all()


def chunked(path, **more):
    return zarr.create_array(str(path), shape=(96, 96), chunks=(32, 32), dtype="u2", fill_value=0, **more)


@pytest.mark.medium
@pytest.mark.parametrize("more", [{}, {"zarr_format": 2}, {"shards": (32, 64)}])
def test_chunks_that_are_not_there_are_no_data(tmp_path, more):
    values = noisy_scene().astype("u2")
    chunked(tmp_path / "a", **more)[:64] = values[:64]
    volume, valid = shares(tmp_path / "a")
    assert valid[0, 0, 0, :64].all()
    assert not valid[0, 0, 0, 64:].any()
    assert "chunks are not there" in volume.remarks[0]
    plan = plan_restoration(str(tmp_path / "a"), str(tmp_path / "out"), method="wavelet")
    assert plan.channels[0].level == pytest.approx(60, rel=0.2)
    group = restored(tmp_path / "a", tmp_path / "out")
    assert not level(group, "0")[64:].any()
    assert (level(group, "mask/0") == valid[0, 0, 0]).all()


def test_what_a_fill_value_that_is_a_mark_says_needs_no_mask(tmp_path):
    array = zarr.create_array(
        str(tmp_path / "a"), shape=(96, 96), chunks=(32, 32), dtype="i2", fill_value=-9, attributes={"_FillValue": -9}
    )
    array[:64] = noisy_scene().astype("i2")[:64]
    volume, valid = shares(tmp_path / "a")
    assert (volume.mask, volume.remarks) == (None, ())
    assert not valid[0, 0, 0, 64:].any()


def moved(path: Path, to):
    for file in [each for each in path.rglob("*") if each.is_file() and each.name[0].isdigit()]:
        place = path / to(file.relative_to(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        held = file.read_bytes()
        file.unlink()
        place.write_bytes(held)
    for left in [path / "c"]:
        if left.is_dir() and not any(each.is_file() for each in left.rglob("*")):
            shutil.rmtree(left)


@pytest.mark.parametrize(
    ("more", "to"),
    [
        ({"zarr_format": 2}, lambda key: key.name.replace(".", "/")),
        ({"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}}, lambda key: ".".join(key.parts)),
        ({}, lambda key: ".".join(key.parts)),
        ({}, lambda key: "/".join(key.parts[1:])),
    ],
)
def test_chunks_under_other_keys_than_declared_are_refused_by_name(tmp_path, more, to):
    chunked(tmp_path / "a", **more)[...] = noisy_scene().astype("u2")
    moved(tmp_path / "a", to)
    with pytest.raises(BadVolume, match="chunks under keys such as"):
        open_volume(tmp_path / "a")


@pytest.mark.medium
def test_results_have_all_their_chunks(tmp_path):
    values = np.zeros((600, 600), "u2")
    values[:100, :100] = noisy_scene(100)
    np.save(tmp_path / "a.npy", values)
    restored(tmp_path / "a.npy", tmp_path / "out.ome.zarr")
    assert with_holes_told(open_volume(tmp_path / "out.ome.zarr")).mask is None
