"""Cosmetic metadata never stop a run at its end; attributes that nobody understands are kept."""

import json

import pytest
import zarr

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadVolume
from ilcore.planning.make import plan_restoration
from ilcore.results.export import export_volume
from ilcore.running.run import Run
from ilcore.running.stages import prepare
from ilcore.running.workspace import Workspace
from tests.restored import noisy_scene, restored


def image(path, omero=None, version="0.5", *, more=None, beside=None, transform=None):
    steps = [{"type": "scale", "scale": [0.1, 0.1]}] if transform is None else transform
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}], "name": None}
    if version == "0.5":
        ome = {"version": "0.5", "multiscales": [multiscale], "omero": omero, **(more or {})}
        group = zarr.create_group(str(path), attributes={"ome": ome, **(beside or {})})
    else:
        said = {"multiscales": [{"version": "0.4", **multiscale}], "omero": omero, **(beside or {})}
        group = zarr.create_group(str(path), attributes=said, zarr_format=2)
    group.create_array("0", data=noisy_scene().astype("u2"))
    return path


SETTINGS = [
    None, {}, [], "none", {"channels": None}, {"channels": []}, {"channels": [None]}, {"channels": [{}]},
    {"channels": [{"window": None}]}, {"channels": [{"window": {"start": None, "end": "9"}}]},
    {"channels": [{"window": [0, 9]}]}, {"channels": [{"color": None, "active": None, "label": None}]},
    {"channels": [{"color": "red"}]}, {"channels": [{"color": "#00ff00"}]}, {"channels": [{"color": 255}]},
    {"channels": {"0": {}}}, {"channels": [{"label": 5}]}, {"channels": [{}, {}]}, {"rdefs": None, "id": 1},
]  # fmt: skip


@pytest.mark.medium
@pytest.mark.parametrize("omero", SETTINGS)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_display_settings_of_any_kind_make_a_valid_result(tmp_path, omero, version):
    group = restored(image(tmp_path / "a", omero, version), tmp_path / "out")
    (channel,) = group.attrs["ome"]["omero"]["channels"]
    assert len(bytes.fromhex(channel["color"])) == 3
    assert set(channel["window"]) == {"min", "max", "start", "end"}
    assert all(isinstance(end, int | float) for end in channel["window"].values())
    assert isinstance(channel["active"], bool)
    assert isinstance(channel["label"], str)


def test_partial_settings_are_exported_too(tmp_path):
    export_volume(str(image(tmp_path / "a", {"channels": [{"color": None}]})), tmp_path / "a.ome.tif")


@pytest.mark.parametrize("transform", [[], None])
def test_null_is_not_a_key_that_is_there(tmp_path, transform):
    held = image(tmp_path / "a", transform=transform)
    said = json.loads((held / "zarr.json").read_text())
    said["attributes"]["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"] = None
    said["attributes"]["ome"]["multiscales"][0]["coordinateTransformations"] = None
    (held / "zarr.json").write_text(json.dumps(said))
    assert open_volume(held).scale == (1, 1, 1, 1, 1)


def test_what_cannot_be_written_is_refused_before_the_first_tile(tmp_path, monkeypatch):
    plan = plan_restoration(str(image(tmp_path / "a")), str(tmp_path / "out"), method="wavelet")

    def broken(*_):
        raise ValueError("no such word")

    monkeypatch.setattr("ilcore.results.ome_zarr.scan_attributes", broken)
    workspace = Workspace.of(plan.target)
    with workspace.locked(), pytest.raises(BadVolume, match=r"can be written.*no such word"):
        prepare(Run(plan, workspace))
    assert not workspace.staging.exists()


FOREIGN = {
    "microscope": {"name": "A1", "gain": None},
    "_FillValue_history": [1, 2],
    "bands": "red",
    "scale": [1, 2],
    "labels": ["nuclei"],
    "fill_value": "unknown",
    "zarr_conventions": [{"name": "other", "uuid": "1", "description": "of somebody else"}],
}


@pytest.mark.medium
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_attributes_that_were_not_used_are_kept(tmp_path, version):
    group = restored(image(tmp_path / "a", version=version, beside=FOREIGN), tmp_path / "out")
    kept = group.attrs.asdict()
    assert {key: kept.get(key) for key in FOREIGN} == FOREIGN


@pytest.mark.medium
@pytest.mark.parametrize("result_format", ["ome-zarr 0.4", "ome-zarr 0.5"])
def test_what_ome_zarr_says_beyond_its_own_words_is_kept(tmp_path, result_format):
    more = {"vendor": {"stage": 3}}
    group = restored(image(tmp_path / "a", more=more), tmp_path / "out", result_format=result_format)
    said = group.attrs.asdict()
    assert said.get("ome", said)["vendor"] == {"stage": 3}
    assert open_volume(tmp_path / "out").units[4] == "micrometer"


@pytest.mark.medium
def test_a_mark_that_was_used_is_not_said_twice(tmp_path):
    zarr.create_array(str(tmp_path / "a"), data=noisy_scene().astype("i2"), attributes={"nodata": 7})
    group = restored(tmp_path / "a", tmp_path / "out")
    assert "nodata" not in group.attrs
    assert open_volume(tmp_path / "out").missing == 7
