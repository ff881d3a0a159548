"""Layers of a result: images of their own beside its levels, spread in a folder, labels where OME-Zarr has them.

RESULT/0, 1, ...               the image
RESULT/spread/0, 1, ...        an image of its own, levels, scale and place those of the image
RESULT/labels                  names the label images
RESULT/labels/provenance/0, 1, ...   a label image: what each value means, and its colour
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ilcore.formats.in_memory import from_array
from ilcore.grammar.layers import Layer
from ilcore.grammar.region import Five
from ilcore.results.layout import ResultFormat
from ilcore.results.ome_zarr import Told, write_group, write_root
from ilcore.results.write import WriteTarget, create_array, open_target
from ilcore.volumes.level import Level
from ilcore.volumes.scan_metadata import ScanMetadata
from ilcore.volumes.volume import Volume

#: The group of label images.
LABELS = "labels"


def groups_of(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Return the groups, under the result, whose metadata layers need."""
    return (*([LABELS] if any(layer.labels for layer in layers) else []), *(layer.folder for layer in layers))


def create_layer(path: str, layer: Layer, *, shape: Five, axes: str, result_format: ResultFormat) -> WriteTarget:
    """Make the empty array of a layer at full size, in the place of one that is there."""
    is_old = result_format == "ome-zarr 0.4"
    # Xarray takes the fill value of Zarr v2 for the mark of missing values, which no label is.
    fill = None if is_old and layer.labels else layer.fill
    return create_array(
        path, shape=shape, dtype=layer.dtype, axes=axes, fill=fill, overwrite=True, zarr_format=2 if is_old else 3
    )


def write_layers(root: str, volume: Volume, layers: Sequence[Layer], levels: Sequence[Level], name: str) -> None:
    """Write the metadata of layers whose levels are complete; that of the image comes after them.

    Args:
        root: The group of the image.
        volume: What the image is.
        layers: What lies beside it.
        levels: Those of the image, finest first; each layer has the same.
        name: Of the image.
    """
    zarr_format = open_target(f"{root.rstrip('/')}/{levels[0].path}").zarr_format
    for layer in layers:
        place, face = f"{root.rstrip('/')}/{layer.folder}", layer_face(volume, layer)
        write_root(place, volume=face, levels=levels, name=f"{name} {layer.name}", told=_told(layer, zarr_format))
    named = [layer.name for layer in layers if layer.labels]
    if named:
        write_group(f"{root.rstrip('/')}/{LABELS}", {LABELS: named}, zarr_format)


def layer_face(volume: Volume, layer: Layer) -> Volume:
    """Return what a layer of an image is, its voxels aside: where it lies, and in which units."""
    about = volume.about
    value_scale = 1.0 if layer.labels else about.value_scale
    face = from_array(np.broadcast_to(np.zeros((), layer.dtype), volume.shape), "tczyx", channels=volume.channels)
    return replace(
        face,
        axes=volume.axes,
        scale=volume.scale,
        units=volume.units,
        origin=volume.origin,
        kind="labels" if layer.labels else "image",
        about=ScanMetadata(crs=about.crs, affine=about.affine, value_scale=value_scale),
    )


def _told(layer: Layer, zarr_format: int) -> Told:
    """Return what the metadata of a layer say beyond those of an image."""
    made = {"type": layer.coarsening, "metadata": {"description": f"{layer.coarsening} of neighbouring voxels"}}
    return Told(
        ome=_image_label(layer, zarr_format) if layer.labels else None, downscaling=made, about={"layer": layer.name}
    )


def _image_label(layer: Layer, zarr_format: int) -> Mapping[str, Any]:
    return {
        "image-label": {
            **({"version": "0.4"} if zarr_format == 2 else {}),
            "colors": [{"label-value": label.value, "rgba": list(label.rgba)} for label in layer.labels],
            "properties": [
                {"label-value": label.value, "name": label.word, "meaning": label.meaning} for label in layer.labels
            ],
            "source": {"image": "../../"},
        }
    }
