"""What becomes of what a source may say beyond a plain image: used, kept, told or refused, as it is found now."""

import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import rasterio
import tifffile
import zarr

from ilcore.formats.gdal import not_georeferenced
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput
from ilcore.planning.make import check_kind
from ilcore.results.masks import with_holes_told
from ilcore.volumes.volume import Volume

Used: TypeAlias = Callable[[Volume], bool]
NODATA = 42113
VALUES = np.random.default_rng(0).integers(1, 250, (64, 64)).astype("u1")
OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


@dataclass(frozen=True)
class Saying:
    """One thing that a source may say.

    Args:
        format: Who says it.
        words: What it says.
        write: Writes a file that says so.
        is_used: Tells whether a volume shows that it was used.
        word: A word by which attributes are searched that were kept.
    """

    format: str
    words: str
    write: Callable[[Path], Path]
    is_used: Used = lambda _: False
    word: str = "\0"


def outcome(saying: Saying) -> str:
    """Return what becomes of it."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            volume = with_holes_told(open_volume(saying.write(Path(folder))))
            check_kind(volume, "denoise")
        except BadInput as error:
            return "refused; `--task copy` passes it through" if "--task copy" in str(error) else "refused"
        return " and ".join(_found(saying, volume)) or "lost"


def _found(saying: Saying, volume: Volume) -> Iterator[str]:
    if saying.is_used(volume):
        yield "used"
    if saying.word in (volume.about.attributes or "") + (volume.display or ""):
        yield "kept"
    if volume.remarks:
        yield "told"


def tiff(values: Any = VALUES, mark: str | None = None, **more: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        tags = [] if mark is None else [(NODATA, "s", 0, mark, True)]
        tifffile.imwrite(folder / "a.tif", values, metadata=None, extratags=tags, **more)
        return folder / "a.tif"

    return write


def imagej(words: str) -> Callable[[Path], Path]:
    return tiff(VALUES.astype("u2"), description=f"ImageJ=1.54f\nimages=1\n{words}", photometric="minisblack")


def raster(count: int = 1, name: str = "a.tif", driver: str = "GTiff", **more: Any) -> Callable[[Path], Path]:
    then: Mapping[str, Any] = {key: more.pop(key) for key in ("mask", "scales", "table", "inside") if key in more}

    def write(folder: Path) -> Path:
        profile = {"driver": driver, "count": count, "height": 64, "width": 64, "dtype": "uint8", **more}
        inside = rasterio.Env(GDAL_TIFF_INTERNAL_MASK=then.get("inside", True))
        with not_georeferenced(), inside, rasterio.open(folder / name, "w", **profile) as to:
            to.write(np.stack([VALUES] * count))
            if "mask" in then:
                to.write_mask(np.where(VALUES > 99, 255, 0).astype("u1"))
            if "scales" in then:
                to.scales, to.offsets = then["scales"], (0,) * count
            if "table" in then:
                to.write_colormap(1, {n: (37 * n % 256, 91 * n % 256, 53 * n % 256, 255) for n in range(256)})
        return folder / name

    return write


def unwritten(folder: Path) -> Path:
    profile = {"driver": "GTiff", "count": 1, "height": 64, "width": 64, "dtype": "uint8", "sparse_ok": True}
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
    with not_georeferenced(), rasterio.open(folder / "a.tif", "w", **profile, **tiles) as to:
        to.write(VALUES[:32, :32], 1, window=((0, 32), (0, 32)))
    return folder / "a.tif"


def stored(attributes: Mapping[str, Any], values: Any = VALUES, **more: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        zarr.create_array(str(folder / "a"), data=values, attributes=dict(attributes), **more)
        return folder / "a"

    return write


def sparse(folder: Path) -> Path:
    array = zarr.create_array(str(folder / "a"), shape=(64, 64), chunks=(32, 32), dtype="u1", fill_value=0)
    array[:32] = VALUES[:32]
    return folder / "a"


def astray(folder: Path) -> Path:
    zarr.create_array(str(folder / "a"), data=VALUES, chunks=(32, 32), zarr_format=2)
    for file in list((folder / "a").glob("?.?")):
        row, column = file.name.split(".")
        (folder / "a" / row).mkdir(exist_ok=True)
        file.rename(folder / "a" / row / column)
    return folder / "a"


def image(omero: Any, more: Mapping[str, Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        axes = [{"name": axis, "type": "space"} for axis in "yx"]
        steps = [{"type": "scale", "scale": [1, 1]}]
        multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
        ome = {"version": "0.5", "multiscales": [multiscale], "omero": omero, **more}
        zarr.create_group(str(folder / "a"), attributes={"ome": ome}).create_array("0", data=VALUES)
        return folder / "a"

    return write


def ome_tiff(pages: int, announced: int, elsewhere: str = "") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        data = f'<TiffData IFD="0" PlaneCount="{pages}"/>{elsewhere}'
        text = (
            f'<?xml version="1.0"?><OME xmlns="{OME}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
            f'Type="uint8" SizeX="64" SizeY="64" SizeZ="1" SizeC="1" SizeT="{announced}"><Channel ID="Channel:0:0"/>'
            f"{data}</Pixels></Image></OME>"
        )
        values = np.stack([VALUES] * pages)
        tifffile.imwrite(folder / "a.ome.tif", values, description=text, metadata=None, photometric="minisblack")
        return folder / "a.ome.tif"

    return write


def is_masked(volume: Volume) -> bool:
    return volume.mask is not None


def marks(*wanted: float) -> Used:
    return lambda volume: set(volume.validity.marks) == set(wanted)


def scaled(scale: float, offset: float) -> Used:
    return lambda volume: (volume.about.value_scale, volume.about.value_offset) == (scale, offset)


GONE = '<TiffData IFD="0" FirstT="2" PlaneCount="2"><UUID FileName="b.ome.tif">urn:uuid:b</UUID></TiffData>'
TWO = np.stack([VALUES] * 2)
SAYINGS = (
    Saying("TIFF", "a mark that the type holds", tiff(mark="7"), marks(7)),
    Saying("TIFF", "a mark that the type cannot hold", tiff(mark="-9999")),
    Saying("TIFF", "a mark printed with too few digits", tiff(VALUES.astype("f4"), "-3.40282e+38"),
           lambda volume: float(np.finfo("f4").min) in volume.validity.marks),
    Saying("TIFF", "a mask inside", raster(mask=True), is_masked),
    Saying("TIFF", "a mask beside (`.msk`)", raster(mask=True, inside=False), is_masked),
    Saying("TIFF", "a band of opacity", raster(4, photometric="RGB", alpha="YES"), is_masked),
    Saying("TIFF", "strips and tiles that were never written", unwritten, is_masked),
    Saying("TIFF", "one scale and offset", raster(2, scales=(0.5, 0.5)), scaled(0.5, 0)),
    Saying("TIFF", "a scale for each band", raster(2, scales=(0.5, 0.25)), word="scales"),
    Saying("TIFF", "a table of colours", raster(photometric="palette", table=True)),
    Saying("TIFF", "a table from dark to bright",
           tiff(photometric="palette", colormap=np.stack([np.arange(256) * 256] * 3).astype("u2")),
           lambda volume: volume.kind == "image"),
    Saying("TIFF", "one bit a pixel", tiff(VALUES > 99, photometric="minisblack")),
    Saying("TIFF", "white at 0", tiff(photometric="miniswhite")),
    Saying("ImageJ TIFF", "a straight calibration, signed 16 bits among them", imagej("cf=0\nc0=-32768\nc1=1\n"),
           scaled(1, -32768)),
    Saying("ImageJ TIFF", "another calibration", imagej("cf=3\nc0=1\nc1=2\nc2=3\n"), word="imagej"),
    Saying("OME-TIFF", "more frames than there are", ome_tiff(3, 5), lambda volume: volume.shape[0] == 3),
    Saying("OME-TIFF", "pages in files that are not there", ome_tiff(2, 4, GONE)),
    Saying("PNG, JPEG 2000", "a band of opacity", raster(4, "a.png", "PNG"), is_masked),
    Saying("PNG, JPEG 2000", "a table of colours", raster(1, "a.png", "PNG", table=True)),
    Saying("Zarr", "one mark (`_FillValue`, `missing_value`, `nodata` ...)", stored({"nodata": "7"}), marks(7)),
    Saying("Zarr", "several marks", stored({"missing_value": [7, 9]}), marks(7, 9)),
    Saying("Zarr", "special values of a measured variable", stored({"flag_values": [7, 9], "units": "K"}), marks(7, 9)),
    Saying("Zarr", "a mark that is no number", stored({"_FillValue": "none"}), word="_FillValue"),
    Saying("Zarr", "a valid range", stored({"valid_range": [3, 200]}), lambda volume: volume.valid_range == (3, 200)),
    Saying("Zarr", "scale and offset as numbers, texts, lists",
           stored({"scale_factor": ["0.5"], "add_offset": "1"}), scaled(0.5, 1)),
    Saying("Zarr", "scale and offset in `raster:bands`", stored({"raster:bands": [{"scale": 0.5, "offset": 1}]}),
           scaled(0.5, 1)),
    Saying("Zarr", "a scale for each band", stored({"scale_factor": [0.5, 0.25]}, TWO), word="scale_factor"),
    Saying("Zarr", "`scale` and `offset` of who knows what", stored({"scale": 0.5, "offset": 1}), word="offset"),
    Saying("Zarr", "`_Unsigned`", stored({"_Unsigned": "true"}, VALUES.view("i1")),
           lambda volume: volume.dtype == np.uint8),
    Saying("Zarr", "classes (`flag_values`, `flag_masks`, STAC)", stored({"flag_masks": [1, 2]})),
    Saying("Zarr", "yes and no (bool)", stored({}, VALUES > 99)),
    Saying("Zarr", "chunks that are not there", sparse, is_masked),
    Saying("Zarr", "chunks under other keys than declared", astray),
    Saying("Zarr", "attributes nobody understands, null among them", stored({"lamp": None}), word="lamp"),
    Saying("OME-Zarr", "labels (`image-label`)", image(None, {"image-label": {}})),
    Saying("OME-Zarr", "display settings that are partial or null",
           image({"channels": [{"color": "00FF00", "window": None}]}, {}), word="00FF00"),
    Saying("OME-Zarr", "words beyond OME's own", image(None, {"vendor": 1}), word="vendor"),
)  # fmt: skip


def table() -> str:
    """Return the table as Markdown."""
    lines = ["| format | says | which is |", "| --- | --- | --- |"]
    lines += [f"| {each.format} | {each.words} | {outcome(each)} |" for each in SAYINGS]
    return "\n".join(lines)


def losses() -> list[str]:
    """Return what is neither used, kept, told nor refused."""
    return [json.dumps([each.format, each.words]) for each in SAYINGS if outcome(each) == "lost"]
