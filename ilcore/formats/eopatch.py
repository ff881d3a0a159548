"""Folders of features as eo-learn writes them (EOPatch): time series of rasters beside their times and their box."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ilcore.formats.in_memory import NpySource, open_npy
from ilcore.formats.stored_zarr import Asked, open_zarr
from ilcore.grammar.errors import BadVolume
from ilcore.volumes.georeference import sides, unit_of, wkt2_of
from ilcore.volumes.scan_metadata import About, Affine
from ilcore.volumes.times import iso
from ilcore.volumes.volume import Facts, Source

#: Axes of the features in each folder.
FOLDERS = {"data": "tyxc", "mask": "tyxc", "data_timeless": "yxc", "mask_timeless": "yxc"}
SUFFIXES = (".npy", ".zarr")


def is_patch(path: str) -> bool:
    """Tell whether a folder holds features, and is no Zarr store."""
    folder = Path(path)
    is_zarr = any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zarray", ".zattrs"))
    return not is_zarr and bool(_features(folder))


def patch_images(path: str) -> tuple[str, ...]:
    """Return the names of the features, for example "data/BANDS"."""
    return tuple(_features(Path(path)))


def open_patch(path: str, axes: str | None, level: int, image: str | None) -> tuple[Source, Facts]:
    """Open a feature of a patch.

    Raises:
        BadVolume: No such feature, several to choose from, or one that cannot be read.
    """
    features = _features(Path(path))
    few = ", ".join(list(features)[:6])
    if image is None and len(features) > 1:
        raise BadVolume(
            f"one image was wanted, {path} holds {len(features)}: {few}; choose one with image= (--image), "
            f"for example {next(iter(features))}"
        )
    name = next(iter(features)) if image is None else image
    if name not in features:
        raise BadVolume(f"an image of {path} was wanted, got {name!r}; it has {few}")
    if level:
        raise BadVolume(f"level {level} was wanted of {path}, which has none; leave level at 0")
    file = features[name]
    told = axes or FOLDERS[file.parent.name]
    source, facts = _open(str(file), told)
    return source, _placed(facts, _Surroundings.of(Path(path)), file.suffix)


def _open(file: str, axes: str) -> tuple[Source, Facts]:
    if file.endswith(".zarr"):
        return open_zarr(file, Asked(axes=axes))
    found: tuple[NpySource, Facts] = open_npy(file, axes)
    return found


def _features(folder: Path) -> dict[str, Path]:
    return {
        f"{kind}/{file.stem}": file
        for kind in FOLDERS
        for file in sorted((folder / kind).glob("*"))
        if file.suffix in SUFFIXES
    }


@dataclass(frozen=True)
class _Surroundings:
    """What lies beside the features."""

    times: tuple[str, ...]
    box: tuple[float, float, float, float] | None
    crs: str | None

    @classmethod
    def of(cls, folder: Path) -> "_Surroundings":
        said = _json(folder / "timestamps.json") or _json(folder / "timestamp.json") or []
        times = tuple(found for each in said if (found := iso(each))) if isinstance(said, list) else ()
        shape = _json(folder / "bbox.geojson")
        return cls(times, _box(shape), _crs(shape)) if isinstance(shape, Mapping) else cls(times, None, None)

    def affine(self, height: int, width: int) -> Affine | None:
        """Return the transform of a raster that fills the box."""
        if self.box is None:
            return None
        left, bottom, right, top = self.box
        return ((right - left) / width, 0.0, left, 0.0, (bottom - top) / height, top)

    @property
    def step_seconds(self) -> float | None:
        """Seconds from one time to the next, where they are even."""
        points = [datetime.fromisoformat(time).timestamp() for time in self.times]
        steps = {round(b - a, 6) for a, b in zip(points, points[1:], strict=False)}
        step = steps.pop() if len(steps) == 1 else 0.0
        return step if step > 0 else None


def _placed(facts: Facts, around: _Surroundings, suffix: str) -> Facts:
    lengths = dict(zip(facts.axes, facts.shape, strict=True))
    affine = around.affine(lengths["y"], lengths["x"])
    unit = unit_of(around.crs)
    known: dict[str, tuple[float, str | None]] = {}
    if affine is not None:
        known |= {axis: (side, unit) for axis, side in zip("yx", sides(affine), strict=True)}
    if around.step_seconds is not None:
        known["t"] = (around.step_seconds, "second")
    return replace(
        facts,
        format=f"eopatch {suffix[1:]}",
        scale=tuple(known.get(axis, (1.0, None))[0] for axis in facts.axes),
        units=tuple(known.get(axis, (1.0, None))[1] for axis in facts.axes),
        about=About(
            crs=around.crs,
            affine=affine,
            acquired=next(iter(around.times), None),
            attributes=json.dumps({"timestamps": around.times}) if around.times else None,
        ),
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise BadVolume(f"readable JSON was wanted at {path}; it is damaged ({error}); repair or remove it") from error


def _crs(shape: Mapping[str, Any]) -> str | None:
    said = shape.get("crs")
    named = said.get("properties", {}).get("name") if isinstance(said, Mapping) else None
    # GeoJSON without a word of it means longitude and latitude.
    return wkt2_of(named or "OGC:CRS84")


def _box(shape: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    points = list(_points(shape))
    if not points:
        return None
    across, along = [point[0] for point in points], [point[1] for point in points]
    box = (min(across), min(along), max(across), max(along))
    return box if box[0] < box[2] and box[1] < box[3] else None


def _points(held: Any) -> Any:
    """Find all pairs of numbers under `coordinates`, however deep."""
    if isinstance(held, Mapping):
        for key in ("geometry", "features", "coordinates", "geometries"):
            yield from _points(held.get(key))
    elif isinstance(held, list) and len(held) >= 2 and all(isinstance(number, int | float) for number in held):
        yield held
    elif isinstance(held, list):
        for each in held:
            yield from _points(each)
