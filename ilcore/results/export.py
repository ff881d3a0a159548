"""Volumes as single files for other programs: Cloud Optimized GeoTIFF or OME-TIFF."""

import os
import tempfile
from pathlib import Path

from ilcore.formats.open import open_volume
from ilcore.formats.roi import open_roi
from ilcore.grammar.errors import BadInput, DestinationError
from ilcore.results import cog, ome_tiff
from ilcore.results.masks import with_holes_told
from ilcore.results.writer import Writer
from ilcore.stores.addresses import is_remote
from ilcore.volumes.volume import Volume

#: The first that suits a volume and a name writes it.
WRITERS = (ome_tiff.WRITER, cog.WRITER)
SUFFIXES = tuple(dict.fromkeys(suffix for writer in WRITERS for suffix in writer.suffixes))


def export_volume(
    uri: str,
    path: str | os.PathLike[str],
    *,
    level: int = 0,
    roi: str | None = None,
    image: str | None = None,
    as_cog: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a volume, one of its levels or a region of it as a TIFF file, with flat memory.

    The file becomes a Cloud Optimized GeoTIFF where the volume has a place on the Earth, or when asked for, and an
    OME-TIFF otherwise, and whenever its name ends in .ome.tif. It appears under its name once it is complete.

    Args:
        uri: Any volume that we can open.
        path: The file, *.tif or *.tiff.
        level: Level of the pyramid.
        roi: Region in voxels of that level, such as "y=0:512,x=256:768".
        image: Which image, where the place holds several.
        as_cog: Write a GeoTIFF whatever the volume says.
        overwrite: Replace a file that is there.

    Returns:
        The file.

    Raises:
        BadInput: The name is no TIFF's, something is there already, or the format cannot hold such a volume.
        BadVolume: There is no such volume.
        DestinationError: The disk refuses.
    """
    place = _checked(uri, path, overwrite=overwrite)
    volume = with_holes_told(open_roi(uri, level=level, image=image, roi=roi))
    writer = cog.WRITER if as_cog else _writer(volume, place)
    writer.check(volume, place)
    coarser = range(level + 1, volume.levels) if writer.takes_levels and not roi else ()
    levels = [volume, *(open_volume(uri, level=at, image=image) for at in coarser)]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f"{place.name}.partial-") as folder:
            writer.write(Path(folder) / place.name, levels)
            (Path(folder) / place.name).replace(place)
    except OSError as error:
        raise DestinationError(
            f"a place to write {place.name} to was wanted in {place.parent}; got {error}; free some space or choose "
            "another"
        ) from error
    return place


def _writer(volume: Volume, place: Path) -> Writer:
    return next(each for each in WRITERS if place.suffix.lower() in each.suffixes and each.suits(volume, place))


def _checked(uri: str, path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    if is_remote(path) or Path(path).suffix.lower() not in SUFFIXES:
        names = " or ".join(f"*{suffix}" for suffix in SUFFIXES)
        raise BadInput(f"a local file {names} was wanted for the export, got {os.fspath(path)}; name one")
    place = Path(os.path.abspath(path))
    if place.is_dir() or (os.path.lexists(place) and not overwrite):
        raise BadInput(f"a new file was wanted, {place} is there already; choose another, or ask to overwrite it")
    if not is_remote(uri) and place.resolve() == Path(uri.removeprefix("file://")).resolve():
        raise BadInput(f"a file apart from the source was wanted, got {place} for both; choose another")
    return place
