"""A format is one file and one line: what is asked of each, and one that nobody here knew before."""

import inspect
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from ilcore.formats import openers
from ilcore.formats.open import images_in, open_volume
from ilcore.formats.protocol import FirstLook, Format
from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import whole
from tests import grey_map

HERE = "tests.grey_map"


@pytest.fixture
def maps(tmp_path):
    """Two grey maps in one file."""
    random = np.random.default_rng(0)
    held = [random.integers(0, 255, (40, 32), dtype=np.uint8) for _ in range(2)]
    place = tmp_path / "two.grey"
    place.write_bytes(b"".join(b"GREY 32 40\n" + each.tobytes() for each in held))
    return place, held


@pytest.fixture
def with_grey_maps(monkeypatch):
    # The one line.
    monkeypatch.setattr(openers, "FORMATS", [*openers.FORMATS, HERE])


@pytest.mark.parametrize("module", [*openers.FORMATS, *openers.REST, HERE])
def test_every_format_has_the_one_signature(module):
    held = import_module(module).FORMAT
    assert isinstance(held.name, str)
    for name in ("recognises", "open", "images"):
        wanted, got = (inspect.signature(getattr(each, name)) for each in (Format, type(held)))
        assert list(wanted.parameters) == list(got.parameters), f"{module}: {name}{got}"


@pytest.mark.usefixtures("with_grey_maps")
def test_a_format_of_one_file_and_one_line_opens_through_every_door(maps):
    place, held = maps
    assert images_in(place) == ("0", "1")
    volume = open_volume(place, image="1", missing=0)
    assert (volume.format, volume.axes, volume.missing, volume.image) == ("grey map", "yx", 0, "1")
    np.testing.assert_array_equal(volume.read(whole(volume.shape))[0, 0, 0], held[1])
    with pytest.raises(BadVolume, match=r"one image was wanted, .* holds 2: 0, 1; choose one with image= \(--image\)"):
        open_volume(place)
    place.write_bytes(b"GREY 32 40\nshort")
    with pytest.raises(BadVolume, match="a sound volume was wanted"):
        open_volume(place)


@pytest.mark.usefixtures("with_grey_maps")
def test_il_info_tells_of_it(maps):
    place, _ = maps
    told = CliRunner().invoke(app, ["info", str(place), "--image", "0"])
    assert told.exit_code == 0, told.output
    assert "grey map" in told.output


def test_without_its_line_nobody_knows_it(maps):
    with pytest.raises(BadVolume, match="was wanted, .* is none of them"):
        open_volume(maps[0])


def test_a_format_takes_no_more_than_forty_lines():
    assert len(inspect.getsource(grey_map).splitlines()) <= 40


def test_no_format_takes_the_place_of_another(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\0")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04")
    (tmp_path / "a.dat").write_bytes(b"II*\0")
    (tmp_path / "a.LSM").write_bytes(b"II*\0")
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    names = {each.name: openers.format_of(str(each)).name for each in tmp_path.iterdir()}
    assert names == {"a.npy": "npy", "a.zip": "npz", "a.dat": "tiff", "a.LSM": "microscope", "a.png": "raster"}
    assert openers.format_of(str(tmp_path)).name == "zarr"
    assert openers.format_of("s3://bucket/scan.tif").name == "zarr"
    assert FirstLook.at("s3://bucket/scan.tif").suffix == ""


HEAVY = ("rasterio", "bioio", "dask", "xarray")


def test_heavy_libraries_wait_for_a_format_that_needs_them(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 3)))
    script = (
        "import sys, ilcore; light = set(sys.modules); "
        f"ilcore.open_volume({str(tmp_path / 'a.npy')!r}); "
        f"print([name for name in {HEAVY} if name in sys.modules], 'zarr' in light, 'tifffile' in light)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.split("\n")[0] == "[] False False"
