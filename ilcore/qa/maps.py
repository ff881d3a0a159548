"""QA maps: one number per tile, as an OME-Zarr that lies over the scan in any viewer.

One channel per map, one voxel per tile; scale and origin are those of the tiles' cores, so a viewer that shows source
and maps together draws each number over the voxels it speaks of.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.formats.in_memory import from_array
from ilcore.grammar.errors import BadInput
from ilcore.grammar.region import five, whole
from ilcore.qa.verdict import TILE_LIMITS, Limits, tile_verdicts
from ilcore.results.ome_zarr import Level, create_array, write_root
from ilcore.stores.places import place_of, remove, store_of
from ilcore.stores.store import Place
from ilcore.tiling.grid import TileGrid
from ilcore.volumes.georeference import coarsened
from ilcore.volumes.scan_metadata import ScanMetadata
from ilcore.volumes.volume import Floats, Volume

#: Name of the map that sums up all others: 0 pass, 1 warn, 2 fail; not a number where nothing was judged.
VERDICT = "verdict"


def verdict_map(
    maps: Mapping[str, NDArray[Any]], confidence: float = 1.0, limits: Limits = TILE_LIMITS
) -> NDArray[np.float32]:
    """Return the verdict on every tile as a map.

    Args:
        maps: Findings by name, as the ledger holds them; NaN where a finding is not known.
        confidence: Confidence of the noise estimate.

    Shape:
        each map [t, z, y, x] -> the same.
    """
    return np.where(np.isfinite(maps["residual_level"]), tile_verdicts(maps, confidence, limits), np.nan).astype(
        np.float32
    )


def write_maps(
    path: str | os.PathLike[str] | Place,
    maps: Mapping[str, NDArray[Any]],
    source: Volume,
    grid: TileGrid,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write maps as an OME-Zarr 0.5 image of float32; an image that was there is replaced in the end.

    Args:
        path: Where.
        maps: Name -> one number per tile.
        source: The volume that was cut into tiles, for axes, scale and units.
        grid: The cut.
        attributes: More attributes of the group, such as the meaning of numbers.

    Shape:
        each map [t, z, y, x], the shape of the grid.

    Raises:
        BadInput: There is no map, or one has not the shape of the grid.
        DestinationError: The place cannot be written to.
    """
    wrong = [f"{name} {np.shape(values)}" for name, values in maps.items() if np.shape(values) != grid.grid_shape]
    if wrong or not maps:
        raise BadInput(f"maps of shape {grid.grid_shape} (t, z, y, x) were wanted, got {', '.join(wrong) or 'none'}")
    place = place_of(path)
    # In a store nothing can be renamed: there the root, which comes last, is what makes it an image.
    partial = store_of(place).half_made(place)
    remove(partial)
    _write(
        partial, np.stack([np.asarray(values, np.float32) for values in maps.values()], 1), _face(maps, source, grid)
    )
    _finish(partial, place, _face(maps, source, grid), attributes)


def _write(partial: Place, block: NDArray[np.float32], face: Volume) -> None:
    target = create_array(str(partial / "0"), shape=face.shape, dtype="f4", axes=face.axes, fill=float("nan"))
    target.write(whole(face.shape), block)


def _finish(partial: Place, place: Place, face: Volume, attributes: Mapping[str, Any] | None) -> None:
    name = place.name.removesuffix(".zarr").removesuffix(".ome")
    write_root(str(partial), volume=face, levels=(Level("0", face.shape),), name=name, attributes=attributes)
    if partial != place:
        remove(place)
        store_of(place).give_name(partial, place)


def _face(maps: Mapping[str, NDArray[Any]], source: Volume, grid: TileGrid) -> Volume:
    """Return the axes, scale, units and channel names of the maps."""
    t, *space = grid.grid_shape
    shape = five([t, len(maps), *space])
    steps = (float(grid.time.core), 1.0, *(float(core) for core in grid.core))
    face = from_array(np.broadcast_to(np.float32(0), shape), "tczyx", channels=tuple(maps))
    return replace(
        face,
        axes="".join(axis for axis in "tczyx" if axis == "c" or axis in source.axes),
        units=source.units,
        scale=_floats(size * step for size, step in zip(source.scale, steps, strict=True)),
        # The middle of a tile's first voxel is not the middle of the tile.
        origin=_floats(
            first + size * (step - 1) / 2 for first, size, step in zip(source.origin, source.scale, steps, strict=True)
        ),
        about=_place(source.about, grid),
    )


def _place(about: ScanMetadata, grid: TileGrid) -> ScanMetadata:
    """Return where the maps lie on the Earth, so that they cover the scan there too."""
    _, rows, columns = grid.core
    return ScanMetadata(crs=about.crs, affine=about.affine and coarsened(about.affine, rows, columns))


def _floats(values: Any) -> Floats:
    t, c, z, y, x = (float(value) for value in values)
    return (t, c, z, y, x)
