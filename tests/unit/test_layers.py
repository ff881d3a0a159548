"""Layers beside an image: which ones there are, how levels are made of them, and what OME-Zarr says of them."""

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import zarr
from matplotlib.image import imread

from ilcore.aims.registry import aim_for
from ilcore.formats.in_memory import from_array
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput
from ilcore.grammar.layers import FILLED, KEPT, LAYERS, MEASURED, PRIOR, PROVENANCE, SYNTHETIC
from ilcore.grammar.region import whole
from ilcore.methods.catalogue import METHODS, find
from ilcore.methods.entry import configure
from ilcore.planning.layers import check_spread, layers_wanted, spreads_after
from ilcore.qa.layer_pictures import LayerView, layer_picture
from ilcore.results.layers import create_layer, write_layers
from ilcore.results.ome_zarr import create_finest, write_root
from ilcore.results.pyramid import of_cells, pyramid_levels, write_levels
from ilcore.volumes.level import Level

SPREAD, ORIGIN = LAYERS["spread"], LAYERS["provenance"]
FORMATS = ("ome-zarr 0.5", "ome-zarr 0.4")


def volume(dtype="u2", missing=None, shape=(300, 310)):
    return from_array(np.zeros(shape, dtype), "yx", missing=missing, scale=(0.5, 0.25), units=("micrometer",) * 2)


def test_labels_are_in_the_order_of_trust():
    assert PROVENANCE == ("kept", "measured", "prior", "filled", "synthetic")
    assert [label.value for label in ORIGIN.labels] == [KEPT, MEASURED, PRIOR, FILLED, SYNTHETIC]


@pytest.mark.parametrize(
    ("task", "dtype", "missing", "asked", "wanted"),
    [
        ("denoise", "f4", None, (), ()),
        ("denoise", "f4", None, ("provenance",), ("provenance",)),
        ("inpaint", "u2", None, (), ()),
        ("inpaint", "u2", 0, (), ("provenance",)),
        ("inpaint", "f4", None, (), ("provenance",)),
        ("inpaint", "f4", None, ("none",), ()),
        ("superres", "u2", None, (), ("provenance",)),
        ("superres", "u2", None, ("spread",), ("spread", "provenance")),
        ("denoise", "u2", None, ("spread", "spread"), ("spread",)),
    ],
)
def test_provenance_is_usual_where_voxels_may_be_made_up(task, dtype, missing, asked, wanted):
    aim = aim_for(task, scale=2 if task == "superres" else None)
    assert layers_wanted(asked, aim, volume(dtype, missing)) == wanted


def test_none_and_another_layer_are_refused():
    with pytest.raises(BadInput, match="layer none leaves all of them out"):
        layers_wanted(("none", "spread"), aim_for("denoise"), volume())


def test_a_spread_is_refused_where_no_images_are_averaged_and_who_averages_some_is_named():
    able = [name for name, entry in METHODS.items() if spreads_after(entry.method) is not None]
    assert able == ["dip_sgld"]
    for name in METHODS:
        entry = find(name)
        if name not in able:
            with pytest.raises(BadInput, match=f"got {name} as it is configured; .*dip_sgld"):
                check_spread(entry, 10**6)
    check_spread(find("dip_sgld"), 7051)
    with pytest.raises(BadInput, match="after 7051 steps on a tile, got 7050"):
        check_spread(find("dip_sgld"), 7050)
    with pytest.raises(BadInput, match="unless stabilised"):
        check_spread(configure(find("dip_sgld"), {"stabilise": True}), 20_000)


def test_a_level_of_labels_holds_the_least_trusted_of_each_cell():
    rng = np.random.default_rng(0)
    block = rng.integers(0, 5, (1, 1, 3, 9, 11)).astype("u1")
    found = of_cells(block, (1, 1, 2, 2, 2), ORIGIN)
    assert found.shape == (1, 1, 2, 5, 6)
    assert found.dtype == np.uint8
    for z, y, x in np.ndindex(2, 5, 6):
        cell = block[0, 0, 2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        assert found[0, 0, z, y, x] == cell.max()


def test_a_level_of_spread_holds_the_root_mean_square_of_what_is_known():
    block = np.array([3, 4, np.nan, 2, np.nan, np.nan, 7], "f4").reshape(1, 1, 1, 1, 7)
    found = of_cells(block, (1, 1, 1, 1, 2), SPREAD)
    np.testing.assert_allclose(found.ravel(), [np.sqrt(12.5), 2, np.nan, 7], rtol=1e-6)


def written(root, result_format):
    """An image of two levels with both layers, their values known."""
    source, rng = volume(), np.random.default_rng(0)
    held = {
        "0": np.arange(300 * 310).reshape(source.shape).astype("u2"),
        "spread/0": rng.random(source.shape).astype("f4"),
        "labels/provenance/0": rng.integers(0, 5, source.shape).astype("u1"),
    }
    make = {
        "0": lambda path: create_finest(
            path, shape=source.shape, dtype="u2", axes="yx", result_format=result_format
        ),
        **{
            f"{layer.folder}/0": lambda path, layer=layer: create_layer(
                path, layer, shape=source.shape, axes="yx", result_format=result_format
            )
            for layer in (SPREAD, ORIGIN)
        },
    }  # fmt: skip
    for path, values in held.items():
        make[path](f"{root}/{path}").write(whole(source.shape), values)
    rungs = pyramid_levels(str(root), source)
    write_levels(rungs)
    for layer in (SPREAD, ORIGIN):
        write_levels(pyramid_levels(str(root), source, f"{layer.folder}/0", layer))
    levels = (Level("0", source.shape), *(rung.level for rung in rungs))
    write_layers(str(root), source, (SPREAD, ORIGIN), levels, "clean")
    write_root(str(root), volume=source, levels=levels, name="clean")
    return held


@pytest.mark.medium
@pytest.mark.parametrize("result_format", FORMATS)
def test_each_layer_opens_as_a_volume_that_lies_over_the_image(tmp_path, result_format):
    held = written(tmp_path, result_format)
    image = open_volume(tmp_path)
    for layer, kind in ((SPREAD, "image"), (ORIGIN, "labels")):
        for level in range(image.levels):
            whole_image, found = (
                open_volume(place, level=level) for place in (tmp_path, tmp_path / layer.folder)
            )  # fmt: skip
            assert (found.shape, found.scale, found.origin) == (
                whole_image.shape, whole_image.scale, whole_image.origin
            )  # fmt: skip
            assert (found.units, found.levels, found.format) == (image.units, image.levels, image.format)
            assert (found.kind, found.dtype.name) == (kind, layer.dtype)
        finest = open_volume(tmp_path / layer.folder)
        np.testing.assert_array_equal(finest.read(whole(finest.shape)), held[f"{layer.folder}/0"])


@pytest.mark.parametrize("result_format", FORMATS)
def test_labels_are_where_ngff_wants_them_and_say_what_each_value_means(tmp_path, result_format):
    written(tmp_path, result_format)
    is_new = result_format == FORMATS[0]

    def ome(path):
        said = dict(zarr.open_group(str(tmp_path / path), mode="r").attrs)
        json.dumps(said, allow_nan=False)
        return said["ome"] if is_new else said

    assert ome("labels")["labels"] == ["provenance"]
    told = ome("labels/provenance")
    assert "omero" not in told
    label = told["image-label"]
    assert [each["label-value"] for each in label["colors"]] == [0, 1, 2, 3, 4]
    assert all(
        len(each["rgba"]) == 4 and 0 <= min(each["rgba"]) <= max(each["rgba"]) <= 255 for each in label["colors"]
    )
    assert [each["name"] for each in label["properties"]] == list(PROVENANCE)
    assert label["source"] == {"image": "../../"}
    assert told["multiscales"][0]["type"] == "least trusted"
    assert len(told["multiscales"][0]["datasets"]) == len(ome("")["multiscales"][0]["datasets"]) == 2
    assert ome("spread")["multiscales"][0]["type"] == "root mean square"
    assert "image-label" not in ome("spread")
    # Nothing of a label image may look like missing values.
    fill = zarr.open_array(str(tmp_path / "labels/provenance/0"), mode="r").metadata.fill_value
    assert fill == (0 if is_new else None)


def view(layer, plane, shares=None):
    image = np.linspace(0, 1, plane.size).reshape(plane.shape)
    return LayerView(layer=layer, name="channel 0", plane=plane, image=image, shares=shares or {})


@pytest.mark.medium
def test_a_rare_label_is_drawn_and_told():
    plane = np.full((1000, 900), MEASURED, np.uint8)
    plane[501, 333] = FILLED
    shares = {"measured": 1 - 1 / plane.size, "filled": 1 / plane.size}
    picture = view(ORIGIN, plane, shares)
    assert picture.summary == "measured 100.0 %, filled less than 0.1 %"
    with_it, without = layer_picture(picture), layer_picture(replace(picture, plane=np.full_like(plane, MEASURED)))
    assert with_it.startswith(b"\x89PNG")
    assert with_it != without


@pytest.mark.medium
def test_between_two_labels_no_third_is_drawn():
    plane = np.full((301, 457), MEASURED, np.uint8)
    plane[37:95, 41:130] = FILLED
    drawn = (255 * imread(BytesIO(layer_picture(view(ORIGIN, plane))))[..., :3]).round()
    prior = np.array(ORIGIN.labels[PRIOR].rgba[:3])
    blue = (np.abs(drawn - prior).max(-1) < 40).any(0)
    # Its swatch, and nothing left of the legend.
    assert blue.any()
    assert not blue[:828].any()


@pytest.mark.medium
def test_a_spread_is_summed_up_by_what_is_known_of_it():
    plane = np.full((40, 50), 2.0, np.float32)
    plane[:10] = np.nan
    assert view(SPREAD, plane).summary == "median 2, nine tenths between 2 and 2; unknown in 25.0 %"
    assert view(SPREAD, np.full((4, 5), np.nan)).summary == "nothing is known of this plane"
    for values in (plane, np.full((4, 5), np.nan)):
        assert layer_picture(view(SPREAD, values)).startswith(b"\x89PNG")
