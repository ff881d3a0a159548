"""What cannot be done is refused in one sentence, with an exit code, and nothing is left behind."""

import errno
import os
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest
import zarr

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import (
    BadInput,
    BadPlan,
    BadVolume,
    BadWeights,
    CorruptData,
    DestinationError,
    ILError,
    RecipeError,
    UnknownMethod,
)  # fmt: skip
from ilcore.planning.make import plan_restoration
from ilcore.results.write import WriteTarget
from ilcore.running.carry_out import carry_out
from ilcore.running.workspace import Workspace
from tests.pretrained import small_weights
from tests.scenes import noisy, scene
from tests.standins import add_standins, planned, saved

IMAGE = (noisy(scene("cells", (40, 48)), std=0.05) * 1000 + 100).astype("u2")


@pytest.fixture(autouse=True)
def standins(monkeypatch):
    add_standins(monkeypatch)


def refused(kind: type[ILError], words: str, source: Any, target: Path, **wishes: Any) -> None:
    """Plan, and see one sentence and an untouched folder."""
    before = everything(target.parent)
    with pytest.raises(kind, match=words) as caught:
        plan_restoration(str(source), str(target), **wishes)
    said(caught.value)
    assert everything(target.parent) == before


def said(error: ILError) -> None:
    assert error.exit_code == (2 if isinstance(error, BadInput) else 1)
    assert "\n" not in str(error)
    assert 20 < len(str(error)) < 900


def everything(folder: Path) -> dict[Path, float]:
    return {path: path.stat().st_mtime for path in folder.rglob("*")} if folder.is_dir() else {}


def big_chunk(folder: Path) -> Path:
    zarr.create_array(store=str(folder / "a.zarr"), shape=(40_000, 40_000), chunks=(40_000, 40_000), dtype="f4")
    return folder / "a.zarr"


def stored(folder: Path) -> Path:
    array = zarr.create_array(store=str(folder / "a.zarr"), shape=IMAGE.shape, chunks=(20, 24), dtype="u2")
    array[...] = IMAGE
    return folder / "a.zarr"


def text(folder: Path) -> Path:
    (folder / "notes.tif").write_text("not a volume")
    return folder / "notes.tif"


SOURCES = {
    "missing path": (lambda _: "/nowhere/scan.zarr", BadVolume, "there is nothing"),
    "not a volume": (text, BadVolume, "is none of them"),
    "empty": (lambda f: saved(f, np.zeros((0, 5))), BadVolume, "is empty"),
    "0-d": (lambda f: saved(f, np.array(3.0)), BadVolume, "0-d"),
    "seven axes": (lambda f: saved(f, np.ones((2,) * 7)), BadVolume, "axes"),
    "huge chunk": (big_chunk, BadVolume, "smaller chunks"),
    "object": (lambda f: saved(f, np.array([[{}, 1]], object)), BadVolume, "objects"),
    "complex": (lambda f: saved(f, np.ones((8, 8), complex)), BadVolume, "complex128"),
    "bool": (lambda f: saved(f, np.ones((8, 8), bool)), BadVolume, "holds a mask"),
    "nothing but NaN": (lambda f: saved(f, np.full((8, 8), np.nan)), BadVolume, "only missing values"),
    "constant": (lambda f: saved(f, np.full((8, 8), 7, "u1")), BadVolume, "only the value 7"),
    "too far apart": (lambda f: saved(f, np.array([[-1.7e308, 1.7e308], [0.0, 1.0]])), BadVolume, "1e308"),
}


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("name", SOURCES)
def test_sources_that_cannot_be_restored(name, tmp_path):
    make, kind, words = SOURCES[name]
    refused(kind, words, make(tmp_path), tmp_path / "out.ome.zarr", method="box")


def test_all_values_are_nodata(tmp_path):
    source = saved(tmp_path, np.full((8, 8), 7, "u1"))
    refused(BadVolume, "only missing values", source, tmp_path / "out", method="box", missing=7)


@pytest.mark.parametrize("damage", ["truncated", "changed", "garbage"])
def test_a_damaged_chunk(damage, tmp_path):
    source = stored(tmp_path)
    chunk = source / "c" / "1" / "1"
    content = chunk.read_bytes()
    half = content[: len(content) // 2]
    chunk.write_bytes(
        {"truncated": half, "changed": half + bytes(len(content) - len(half)), "garbage": b"x" * 99}[damage]
    )
    refused(CorruptData, "damaged", source, tmp_path / "out", method="box")


WISHES = {
    "unknown method": ({"method": "zsn2n"}, UnknownMethod, "did you mean 'zs_n2n'"),
    "unknown knob": ({"method": "zs_n2n", "overrides": {"stop.stepz": 2}}, RecipeError, "there are: steps"),
    "knob of another type": ({"method": "zs_n2n", "overrides": {"steps": "two"}}, RecipeError, "must be int"),
    "senseless knob": ({"method": "zs_n2n", "overrides": {"network.depth": 1}}, RecipeError, "depth >= 2"),
    "negative steps": ({"method": "zs_n2n", "overrides": {"steps": -1}}, RecipeError, "steps >= 0"),
    "lacks steps on each tile": ({"method": "dip", "scope": "volume", "tile_steps": 0}, BadPlan, "set it to"),
    "cannot inpaint": ({"method": "zs_n2n", "task": "inpaint"}, BadInput, "can denoise, got task inpaint"),
    "unknown task": ({"task": "sharpen"}, BadInput, "denoise, inpaint, superres or copy"),
    "unknown scope": ({"scope": "plane"}, BadInput, "tile or volume"),
    "no weights there": ({"method": "adapted", "weights": "/nowhere.safetensors"}, BadWeights, "must be a file"),
    "weights for nothing": ({"method": "zs_n2n", "weights": "/nowhere.safetensors"}, BadInput, "leave them out"),
    "another network": ({"method": "adapted", "overrides": {"network.width": 8}}, BadInput, "one network only"),
    "unknown axes": ({"axes": "qx"}, BadVolume, "axes"),
    "axes of another count": ({"axes": "zyx"}, BadVolume, "axes"),
    "no such level": ({"level": 2}, BadVolume, "level"),
    "noise below 0": ({"noise_std": -1.0}, BadInput, "noise_std must be above 0"),
    "noise unknown": ({"noise_std": float("nan")}, BadInput, "noise_std must be above 0"),
    "empty tile": ({"tile": (1, 0, 8)}, BadInput, "three lengths >= 1"),
    "flat tile": ({"tile": (8, 8)}, BadInput, "three lengths >= 1"),
    "negative seed": ({"seed": -1}, BadInput, "seed must be >= 0"),
    "infinite nodata": ({"missing": float("inf")}, BadInput, "never data"),
}


@pytest.mark.parametrize("name", WISHES)
def test_wishes_that_cannot_be_met(name, tmp_path):
    wishes, kind, words = WISHES[name]
    refused(kind, words, saved(tmp_path, IMAGE), tmp_path / "out.ome.zarr", **wishes)


def test_several_wrong_wishes_come_together(tmp_path):
    with pytest.raises(BadInput, match=r"noise_std .*seed .*tile "):
        plan_restoration("/nowhere", str(tmp_path / "out"), noise_std=0, tile=(0, 0, 0), seed=-3)


def test_an_unknown_wish(tmp_path):
    with pytest.raises(BadInput, match="got sharpness"):
        plan_restoration("/nowhere", str(tmp_path / "out"), sharpness=3)


def test_weights_that_are_none(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"not weights")
    refused(BadWeights, "safetensors", saved(tmp_path, IMAGE), tmp_path / "out", method="adapted", weights=str(path))


def test_too_few_pixels_for_the_method(tmp_path):
    refused(RecipeError, "2 x 2", saved(tmp_path, IMAGE[:1]), tmp_path / "out", method="zs_n2n")


def test_targets_that_cannot_be(tmp_path):
    source = stored(tmp_path / "data")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    cases = [
        (source / "out", BadInput, "apart from the source"),
        (source.parent, BadInput, "apart from the source"),
        (source, BadInput, "apart from the source"),
        (tmp_path / "folder", BadInput, "no Zarr folder"),
        (tmp_path / "file" / "out", DestinationError, "cannot be written to"),
    ]
    for target, kind, words in cases:
        refused(kind, words, source, target, method="box")
    with pytest.raises(BadInput, match="local folder"):
        plan_restoration(str(source), "gs://bucket/out", method="box")


def test_a_target_on_a_file_system_that_cannot_be_written_to(tmp_path):
    with pytest.raises(DestinationError, match="/proc cannot be written to") as caught:
        plan_restoration(str(saved(tmp_path, IMAGE)), "/proc/out", method="box")
    said(caught.value)


# What is refused only when a plan is carried out.


def not_begun(kind: type[ILError], words: str, plan: Any, **more: Any) -> None:
    target = Path(plan.target)
    before = everything(target.parent)
    with pytest.raises(kind, match=words) as caught:
        carry_out(plan, **more)
    said(caught.value)
    after = everything(target.parent)
    assert after.keys() == before.keys()
    assert not Workspace.of(plan.target).root.exists()


def box(tmp_path: Path, **wishes: Any) -> Any:
    return planned(saved(tmp_path, IMAGE), tmp_path / "out.ome.zarr", "box", **wishes)


def test_a_source_that_is_another_by_now(tmp_path):
    plan = box(tmp_path)
    saved(tmp_path, IMAGE[::-1])
    not_begun(BadVolume, "plan again", plan)
    (tmp_path / "source.npy").unlink()
    not_begun(BadVolume, "there is nothing", plan)


def test_a_result_that_is_there_is_kept(tmp_path):
    plan = box(tmp_path)
    zarr.create_array(store=str(tmp_path / "out.ome.zarr"), shape=(3,), dtype="u1")
    not_begun(BadInput, "is there already", plan)
    assert zarr.open_array(str(tmp_path / "out.ome.zarr"), mode="r").shape == (3,)


def test_a_folder_that_is_no_result_is_never_replaced(tmp_path):
    plan = box(tmp_path)
    (tmp_path / "out.ome.zarr").mkdir()
    (tmp_path / "out.ome.zarr" / "thesis.txt").write_text("mine")
    not_begun(BadInput, "move it away yourself", plan, overwrite=True)


def test_a_plan_written_by_hand_cannot_put_the_result_into_the_source(tmp_path):
    source = stored(tmp_path)
    plan = planned(source, tmp_path / "out", "box").model_copy(update={"target": str(source / "c" / "out")})
    not_begun(BadInput, "apart from the source", plan)


def test_weights_that_are_others_by_now(tmp_path):
    path = small_weights(tmp_path / "w.safetensors")
    plan = planned(saved(tmp_path, IMAGE), tmp_path / "out.ome.zarr", "adapted", weights=str(path))
    small_weights(path, seed=1)
    not_begun(BadWeights, "must have sha256", plan)
    path.unlink()
    not_begun(BadWeights, "must be a file", plan)


def test_a_disk_that_is_too_full(tmp_path, monkeypatch):
    plan = box(tmp_path)
    full = type("Usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    not_begun(DestinationError, "free some space", plan)


def test_a_disk_that_fills_up(tmp_path, monkeypatch):
    plan, write = box(tmp_path), WriteTarget.write

    def full(self: WriteTarget, *_: Any) -> None:
        raise DestinationError(f"a place to write to was wanted at {self.path}; got {errno.ENOSPC}; free some space")

    monkeypatch.setattr(WriteTarget, "write", full)
    with pytest.raises(DestinationError):
        carry_out(plan)
    assert not Path(plan.target).exists()
    with pytest.raises(BadVolume):
        open_volume(Workspace.of(plan.target).staging)
    monkeypatch.setattr(WriteTarget, "write", write)
    carry_out(plan)
    assert open_volume(plan.target).shape == (1, 1, 1, 40, 48)


@pytest.mark.parametrize("stage", ["restore_unit", "stages.assemble_block", "stages.complete", "write_record"])
def test_a_source_that_is_overwritten_in_place_during_the_run_is_not_published(tmp_path, monkeypatch, stage):
    plan = box(tmp_path)
    work = resolve_name(f"ilcore.running.carry_out:{stage}")

    def overwriting(*given: Any) -> Any:
        pixels, before = np.load(plan.source.uri, mmap_mode="r+"), Path(plan.source.uri).stat()
        pixels[20:, 24:] += 1
        pixels.flush()
        os.utime(plan.source.uri, ns=(before.st_atime_ns, before.st_mtime_ns))
        return work(*given)

    monkeypatch.setattr(f"ilcore.running.carry_out.{stage}", overwriting)
    with pytest.raises(BadVolume, match="must stay as it is until its result is published") as caught:
        carry_out(plan)
    said(caught.value)
    assert not Path(plan.target).exists()
    monkeypatch.undo()
    add_standins(monkeypatch)
    with pytest.raises(BadVolume, match="planned for"):
        carry_out(plan)
    carry_out(planned(Path(plan.source.uri), Path(plan.target), "box"), overwrite=True)
    assert open_volume(plan.target).shape == (1, 1, 1, 40, 48)


def test_scratch_that_was_damaged(tmp_path, monkeypatch):
    plan = box(tmp_path)
    monkeypatch.setattr("ilcore.running.stages.assemble_block", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        carry_out(plan)
    monkeypatch.undo()
    chunk = next(path for path in (Workspace.of(plan.target).scratch / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-9])
    add_standins(monkeypatch)
    with pytest.raises(CorruptData) as caught:
        carry_out(plan)
    said(caught.value)
    assert not Path(plan.target).exists()
