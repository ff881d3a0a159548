"""A file leads nowhere else: names, links, descriptions are held to its folder or to roots; no terminal is steered."""

import json
import os
import socket
import threading

import numpy as np
import pytest
import rasterio
import tifffile
import zarr

from ilcore.formats.gdal import not_georeferenced
from ilcore.formats.open import images_in, open_volume
from ilcore.grammar.errors import BadInput, BadVolume
from ilcore.grammar.plain_text import plain
from ilcore.grammar.region import whole
from tasks.describe import describe

VALUES = np.random.default_rng(0).integers(90, 120, (3, 32, 32)).astype("u2")
STEP = {"type": "scale", "scale": [1, 1, 1]}
AXES = [{"name": axis, "type": "space"} for axis in "zyx"]
SPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
ELSEWHERE = "leads out of it|leads elsewhere|names a file elsewhere|what lies elsewhere"


@pytest.fixture(name="secret")
def _secret(tmp_path):
    """An array outside of the folder of the scan."""
    path = tmp_path / "secret" / "a.zarr"
    zarr.create_array(path, shape=VALUES.shape, dtype="u2", chunks=(1, 16, 16))[...] = VALUES
    return path


@pytest.fixture(name="folder")
def _folder(tmp_path):
    (tmp_path / "scans").mkdir()
    return tmp_path / "scans"


def ome_zarr(path, name):
    said = {"axes": AXES, "datasets": [{"path": name, "coordinateTransformations": [STEP]}]}
    return zarr.open_group(path, mode="w", attributes={"ome": {"version": "0.5", "multiscales": [said]}})


@pytest.mark.parametrize("name", ["../../secret/a.zarr", "/etc", "s3://bucket/a", "a\x00b", "..\\..\\secret"])
def test_paths_of_levels_lie_below_their_image(folder, secret, name):
    ome_zarr(folder / "a.zarr", name)
    with pytest.raises(BadVolume, match=ELSEWHERE):
        open_volume(folder / "a.zarr")


@pytest.mark.parametrize(
    "attributes",
    [
        {"multiscales": {"layout": [{"asset": "../../secret/a.zarr"}]}},
        {"ome": {"version": "0.5", "plate": {"wells": [{"path": "../../secret"}]}}},
        {"ome": {"version": "0.5", "well": {"images": [{"path": "../../secret/a.zarr"}]}}},
        {"ome": {"version": "0.5", "bioformats2raw.layout": 3}},
    ],
)
def test_names_of_images_lie_below_their_group(folder, secret, attributes):
    zarr.open_group(folder / "a.zarr", mode="w", attributes=attributes)
    zarr.create_group(folder / "a.zarr" / "OME", attributes={"ome": {"series": ["../../secret/a.zarr"]}})
    with pytest.raises(BadVolume):
        open_volume(folder / "a.zarr")
    with pytest.raises(BadVolume):
        open_volume(folder / "a.zarr", image="../../secret/a.zarr")


def test_links_inside_of_a_zarr_stay_inside_or_in_roots(folder, secret, tmp_path):
    group = ome_zarr(folder / "a.zarr", "0")
    (folder / "a.zarr" / "0").symlink_to(secret)
    with pytest.raises(BadVolume, match=ELSEWHERE):
        open_volume(folder / "a.zarr")
    volume = open_volume(folder / "a.zarr", roots=[str(folder), str(secret.parent)])
    np.testing.assert_array_equal(volume.read(whole(volume.shape))[0, 0], VALUES)
    with pytest.raises(BadVolume, match=ELSEWHERE):
        open_volume(folder / "a.zarr", roots=[str(folder)])
    (folder / "a.zarr" / "0").unlink()
    group.create_array("0", shape=VALUES.shape, dtype="u2", chunks=(1, 16, 16))[...] = VALUES
    chunk = folder / "a.zarr" / "0" / "c" / "0" / "0" / "0"
    os.replace(chunk, chunk.with_name("own"))
    chunk.symlink_to(chunk.with_name("own"))
    volume = open_volume(folder / "a.zarr")
    np.testing.assert_array_equal(volume.read(whole(volume.shape))[0, 0], VALUES)
    chunk.unlink()
    chunk.symlink_to(secret / "c" / "0" / "0" / "0")
    with pytest.raises(BadVolume, match=ELSEWHERE):
        volume.read(whole(volume.shape))


def test_a_scan_that_is_a_link_itself_is_where_it_leads(folder, secret):
    (folder / "a.zarr").symlink_to(secret)
    assert open_volume(folder / "a.zarr").shape[2:] == VALUES.shape


def ome_tiff(path, name):
    held = f'<TiffData IFD="0" PlaneCount="3"><UUID FileName="{name}">urn:uuid:x</UUID></TiffData>'
    tifffile.imwrite(
        path, VALUES, metadata=None, photometric="minisblack",
        description=f'<OME xmlns="{SPACE}" UUID="urn:uuid:me"><Image ID="Image:0"><Pixels ID="Pixels:0" SizeX="32" '
        f'DimensionOrder="XYZCT" Type="uint16" SizeY="32" SizeZ="3" SizeC="1" SizeT="1">{held}</Pixels></Image></OME>',
    )  # fmt: skip


@pytest.mark.parametrize("name", ["../secret/b.ome.tif", "/etc/passwd", "link.ome.tif"])
def test_files_of_an_ome_tiff_lie_beside_it(folder, secret, name):
    tifffile.imwrite(secret.parent / "b.ome.tif", VALUES, photometric="minisblack")
    (folder / "link.ome.tif").symlink_to(secret.parent / "b.ome.tif")
    ome_tiff(folder / "a.ome.tif", name)
    with pytest.raises(BadVolume, match=ELSEWHERE):
        open_volume(folder / "a.ome.tif")
    with pytest.raises(BadVolume, match=ELSEWHERE):
        images_in(folder / "a.ome.tif")


@pytest.mark.parametrize("name", ["../secret/x.companion.ome", "/etc/passwd"])
def test_a_companion_lies_beside_its_file(folder, secret, name):
    (secret.parent / "x.companion.ome").write_text(f'<OME xmlns="{SPACE}"/>')
    said = f'<OME xmlns="{SPACE}" UUID="urn:uuid:a"><BinaryOnly MetadataFile="{name}" UUID="urn:uuid:b"/></OME>'
    tifffile.imwrite(folder / "a.ome.tif", VALUES, metadata=None, description=said, photometric="minisblack")
    with pytest.raises(BadVolume, match=ELSEWHERE):
        open_volume(folder / "a.ome.tif")


VRT = (
    '<VRTDataset rasterXSize="32" rasterYSize="32"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
    "<SourceFilename>{}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
)


@pytest.fixture(name="asked")
def _asked():
    """A web server that only tells whether it was asked."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(3)
    heard = []

    def listen():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            heard.append(connection.recv(100))
            connection.close()

    threading.Thread(target=listen, daemon=True).start()
    yield server.getsockname()[1], heard
    server.close()


DESCRIPTIONS = {
    "VRT": lambda port, path: VRT.format(path),
    "VRT, declared": lambda port, path: '<?xml version="1.0"?>\n' + VRT.format(path),
    "VRT of a URL": lambda port, path: VRT.format(f"/vsicurl/http://127.0.0.1:{port}/a.tif"),
    "WMS": lambda port, path: (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:{port}/${{x}}</ServerUrl></Service>'
        "<DataWindow><SizeX>32</SizeX><SizeY>32</SizeY></DataWindow><BandsCount>1</BandsCount></GDAL_WMS>"
    ),
    "tile index": lambda port, path: (
        f"<GDALTileIndexDataset><IndexDataset>{path}</IndexDataset></GDALTileIndexDataset>"
    ),
    "STAC list": lambda port, path: json.dumps(
        {"type": "FeatureCollection", "features": [{"assets": {"a": {"href": f"http://127.0.0.1:{port}/a.tif"}}}]}
    ),
    "address": lambda port, path: f"http://127.0.0.1:{port}/a.tif",
}


@pytest.mark.parametrize("name", ["a.tif", "a.vrt", "a.jp2"])
@pytest.mark.parametrize("what", DESCRIPTIONS)
def test_descriptions_of_other_places_are_refused_whatever_they_are_called(folder, secret, asked, what, name):
    port, heard = asked
    tifffile.imwrite(secret.parent / "b.tif", VALUES[0])
    (folder / name).write_text(DESCRIPTIONS[what](port, secret.parent / "b.tif"))
    with pytest.raises(BadVolume):
        open_volume(folder / name)
    with pytest.raises(BadVolume):
        describe(str(folder / name), axes=None, level=0, missing=None)
    assert heard == []


@pytest.mark.parametrize("end", [".ovr", ".msk"])
def test_a_description_beside_a_picture_is_refused_too(folder, secret, end):
    tifffile.imwrite(secret.parent / "b.tif", VALUES[0])
    place = rasterio.transform.Affine(10, 0, 5e5, 0, -10, 5e6)
    said = {"driver": "GTiff", "count": 1, "height": 32, "width": 32, "dtype": "uint16", "transform": place}
    with rasterio.open(folder / "a.tif", "w", **said) as to:
        to.write(VALUES[:1])
    assert open_volume(folder / "a.tif").about.affine is not None
    (folder / f"a.tif{end}").write_text(VRT.format(secret.parent / "b.tif"))
    with pytest.raises(BadVolume):
        open_volume(folder / "a.tif")


def test_overviews_named_in_tags_are_refused(folder):
    with not_georeferenced(), rasterio.open(
        folder / "a.tif", "w", driver="GTiff", count=1, height=32, width=32, dtype="uint16"
    ) as to:  # fmt: skip
        to.write(VALUES[:1])
        to.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/etc/passwd")
    with pytest.raises(BadVolume, match=ELSEWHERE):
        open_volume(folder / "a.tif")


@pytest.mark.parametrize("name", ["a.tfw", "a.prj", "a.tif.aux.xml", "a.tif.msk"])
def test_links_beside_a_picture_are_held_to_its_folder(folder, name):
    tifffile.imwrite(folder / "a.tif", VALUES[0], metadata=None)
    (folder / name).symlink_to("/etc/passwd")
    with pytest.raises(BadVolume):
        open_volume(folder / "a.tif")


@pytest.mark.parametrize("name", ["a.tif", "a.npy", "zarr.json", "a.tfw"])
def test_a_pipe_is_refused_not_waited_for(folder, name):
    place = folder / "scan"
    place.mkdir()
    os.mkfifo(place / name)
    if name == "a.tfw":
        tifffile.imwrite(place / "a.tif", VALUES[0], metadata=None)
    with pytest.raises(BadVolume, match="pipe"):
        open_volume(place if name == "zarr.json" else place / ("a.tif" if name == "a.tfw" else name))


ESCAPE = "\x1b]0;owned\x07\x1b[31m\u202e\n"


def test_names_and_units_steer_no_terminal(folder):
    group = ome_zarr(folder / "a.zarr", "0")
    group.create_array("0", shape=VALUES.shape, dtype="u2")[...] = VALUES
    ome = group.attrs["ome"]
    ome["multiscales"][0]["axes"] = [{**axis, "unit": f"m{ESCAPE}"} for axis in AXES]
    ome["omero"] = {"channels": [{"label": f"GFP{ESCAPE}", "color": "FF0000"}]}
    group.attrs["ome"] = ome
    volume = open_volume(folder / "a.zarr")
    for text in (*volume.channels, *filter(None, volume.units)):
        assert text.isprintable()
    assert volume.channels[0].startswith("GFP\\x1b")


def test_messages_and_addresses_steer_no_terminal(folder):
    group = zarr.open_group(folder / "a.zarr", mode="w")
    for name in (f"x{ESCAPE.strip()}", "y"):
        group.create_array(name, shape=(4, 4), dtype="u2")[...] = 1
    with pytest.raises(BadVolume) as caught:
        open_volume(folder / "a.zarr")
    assert str(caught.value).isprintable()
    for name in ("a\nb.tif", "a\x1b[31m.tif", "a\x00.tif"):
        with pytest.raises(BadInput, match="control characters") as caught:
            open_volume(folder / name)
        assert str(caught.value).isprintable()


def test_plain_text_keeps_what_is_shown():
    assert plain("Zürich 5 µm 細胞") == "Zürich 5 µm 細胞"
    assert plain("a\tb\u202e\x9b") == "a\\tb\\u202e\\x9b"
