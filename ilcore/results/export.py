"""Volumes as single files for other programs: Cloud Optimized GeoTIFF or OME-TIFF."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ilcore.formats.geozarr import is_placed
from ilcore.formats.open import open_volume
from ilcore.formats.roi import open_part
from ilcore.grammar.errors import BadInput, DestinationError
from ilcore.results import cog, ome_tiff
from ilcore.results.masks import with_holes_told
from ilcore.stores.addresses import is_remote
from ilcore.volumes.volume import Volume

SUFFIXES = (".tif", ".tiff")


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
    volume = with_holes_told(open_part(uri, level=level, image=image, roi=roi))
    is_cog = as_cog or (is_placed(volume.about) and not _is_ome(place))
    (cog if is_cog else ome_tiff).check(volume, place)
    coarser = (
        [] if is_cog or roi else [open_volume(uri, level=at, image=image) for at in range(level + 1, volume.levels)]
    )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f"{place.name}.partial-") as folder:
            _write(Path(folder) / place.name, volume, coarser, is_cog=is_cog)
            (Path(folder) / place.name).replace(place)
    except OSError as error:
        raise DestinationError(
            f"a place to write {place.name} to was wanted in {place.parent}; got {error}; free some space or choose "
            "another"
        ) from error
    return place


def _write(path: Path, volume: Volume, coarser: Sequence[Volume], *, is_cog: bool) -> None:
    if is_cog:
        cog.write_cog(path, volume)
    else:
        ome_tiff.write_ome_tiff(path, [volume, *coarser])


def _checked(uri: str, path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    if is_remote(path) or Path(path).suffix.lower() not in SUFFIXES:
        raise BadInput(f"a local file *.tif or *.tiff was wanted for the export, got {os.fspath(path)}; name one")
    place = Path(os.path.abspath(path))
    if place.is_dir() or (os.path.lexists(place) and not overwrite):
        raise BadInput(f"a new file was wanted, {place} is there already; choose another, or ask to overwrite it")
    if not is_remote(uri) and place.resolve() == Path(uri.removeprefix("file://")).resolve():
        raise BadInput(f"a file apart from the source was wanted, got {place} for both; choose another")
    return place


def _is_ome(place: Path) -> bool:
    return place.name.lower().endswith((".ome.tif", ".ome.tiff"))
