"""Microscope formats (CZI, ND2, LIF ...) through bioio and its plug-ins."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.errors import BadVolume
from ilcore.volumes.axes import LEFT_OUT, find_axes
from ilcore.volumes.units import full_unit
from ilcore.volumes.volume import Facts, Reopened

SUFFIXES = (
    ".czi", ".nd2", ".lif", ".dv", ".r3d", ".oib", ".oif", ".oir", ".vsi", ".ims", ".lsm", ".sldy", ".zvi", ".stk",
)  # fmt: skip


@dataclass(frozen=True)
class MicroscopeSource(Reopened):
    """A scene of a microscope's file; bioio reads the parts that are asked for."""

    path: str
    scene: str
    level: int = 0

    @cached_property
    def _array(self) -> Any:
        return _scene(self.path, self.scene, self.level).dask_data

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return np.asarray(self._array[index].compute(scheduler="synchronous"))


def is_microscope(path: str) -> bool:
    """Tell whether a file is a microscope's, going by its name."""
    return Path(path).suffix.lower() in SUFFIXES


def microscope_images(path: str) -> tuple[str, ...]:
    """Return the names of the scenes of a file.

    Raises:
        BadVolume: bioio or the plug-in of the format is not installed, or the file cannot be read.
    """
    return tuple(map(str, _image(path).scenes))


def open_microscope(path: str, axes: str | None, level: int, image: str | None) -> tuple[MicroscopeSource, Facts]:
    """Open a scene of a file.

    Raises:
        BadVolume: As `microscope_images`; or no such scene, several to choose from, or not the level.
    """
    scene = _chosen(path, image)
    opened = _scene(path, scene, 0)
    levels = len(opened.resolution_levels)
    if not 0 <= level < levels:
        raise BadVolume(f"a level from 0 to {levels - 1} was wanted of {path}, got {level}")
    finest = tuple(opened.shape)
    if level:
        opened = _scene(path, scene, level)
    return MicroscopeSource(path, scene, level), _facts(opened, path, axes, finest, level)


def _chosen(path: str, image: str | None) -> str:
    names = microscope_images(path)
    few = ", ".join(names[:6])
    if image is None and len(names) != 1:
        raise BadVolume(
            f"one image was wanted, {path} holds {len(names)}: {few}; choose one with image= (--image), "
            f"for example {next(iter(names), 0)}"
        )
    if image is not None and image not in names:
        raise BadVolume(f"an image of {path} was wanted, got {image!r}; it has {few}")
    return image or names[0]


def _image(path: str) -> Any:
    try:
        from bioio import BioImage
        from bioio_base.exceptions import UnsupportedFileFormatError
    except ImportError as error:
        raise BadVolume(
            f"bioio was wanted to read {path}, it is not installed; pip install 'ilcore[bioio]' and the plug-in of "
            "the format, for example bioio-czi"
        ) from error
    try:
        return BioImage(path)
    except UnsupportedFileFormatError as error:
        raise BadVolume(
            f"a plug-in of bioio was wanted that reads {path}, none is installed that does; "
            f"pip install the one of the format, for example bioio-{Path(path).suffix.lower()[1:] or 'czi'}"
        ) from error
    except Exception as error:
        raise BadVolume(
            f"a whole microscope file was wanted at {path}; bioio cannot read it ({type(error).__name__}: {error}); "
            "take a fresh copy"
        ) from error


def _scene(path: str, scene: str, level: int) -> Any:
    image = _image(path)
    image.set_scene(scene)
    if level:
        image.set_resolution_level(level)
    return image


def _facts(image: Any, path: str, axes: str | None, finest: tuple[int, ...], level: int) -> Facts:
    shape = tuple(image.shape)
    found = find_axes(axes, _letters(image.dims.order, shape), shape, path)
    sizes = _sizes(image)
    ratios = [whole / length for whole, length in zip(finest, shape, strict=True)]
    return Facts(
        shape=shape,
        dtype=np.dtype(image.dtype),
        axes=found,
        format=f"bioio {Path(path).suffix.lower()[1:]}",
        chunks=tuple(image.dask_data.chunksize),
        scale=tuple(sizes.get(axis, (1.0, None))[0] * ratio for axis, ratio in zip(found, ratios, strict=True)),
        units=tuple(sizes.get(axis, (1.0, None))[1] for axis in found),
        channels=tuple(map(str, image.channel_names or ())),
        level=level,
        levels=len(image.resolution_levels),
    )


def _letters(order: str, shape: tuple[int, ...]) -> list[str]:
    """Return bioio's dimensions as ours: samples of a colour picture are its channels; other axes of length 1 go."""
    letters = list(order.lower())
    if "s" in letters and "c" in letters and shape[letters.index("c")] == 1:
        letters[letters.index("c")] = LEFT_OUT
        letters[letters.index("s")] = "c"
    return [
        LEFT_OUT if letter in "tcz" and length == 1 else letter for letter, length in zip(letters, shape, strict=True)
    ]


def _sizes(image: Any) -> dict[str, tuple[float, str | None]]:
    """Return sizes and units; bioio speaks of micrometres unless the plug-in says otherwise."""
    said = getattr(image, "dimension_properties", None)
    found = {axis: (getattr(image.physical_pixel_sizes, axis.upper(), None), _unit(said, axis)) for axis in "zyx"}
    return {axis: (float(size), unit) for axis, (size, unit) in found.items() if size}


def _unit(said: Any, axis: str) -> str | None:
    told = getattr(getattr(said, axis.upper(), None), "unit", None)
    return "micrometer" if told is None else full_unit(told)
