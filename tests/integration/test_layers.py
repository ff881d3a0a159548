"""Layers from method to result: blended, killed and resumed, verified and repaired, shown and told like the image."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput, BadPlan
from ilcore.grammar.layers import FILLED, KEPT, LAYERS, MEASURED, PRIOR
from ilcore.grammar.region import whole
from ilcore.keeping.audit import audit, is_sound
from ilcore.keeping.repair import repair
from ilcore.keeping.verify import verify
from ilcore.planning.plan import RestorationPlan
from ilcore.results.export import export_volume
from ilcore.results.pyramid import of_cells
from ilcore.running import carry_out as carrying
from ilcore.running.carry_out import carry_out
from ilcore.running.damage import write_damage
from ilcore.running.record import read_record
from ilcore.running.run import Run
from ilcore.running.workspace import Workspace
from tests.integration.test_verify import chunks, cut, flip, tree
from tests.scenes import noisy, scene
from tests.standins import SIDE, add_standins, planned, saved

#: Two blocks; and not whole tiles: the last ones are slivers.
SHAPE, TILE = (140, 530), (1, 96, 160)
BOTH = {"layers": ("spread", "provenance")}
HOLE, LINES = (slice(40, 52), slice(90, 130)), (slice(110, 113), slice(None))


@pytest.fixture(autouse=True)
def standins(monkeypatch: pytest.MonkeyPatch) -> None:
    add_standins(monkeypatch)


def scan(*, has_holes: bool = True) -> NDArray[np.float32]:
    values = (100 + 50 * noisy(scene("cells", SHAPE, 0), std=0.05, seed=0)).astype("f4")
    if has_holes:
        values[HOLE] = values[LINES] = np.nan
    return values


def holes() -> NDArray[np.bool_]:
    return np.isnan(scan())


def made(folder: Path, method: str = "sampled", values: NDArray[Any] | None = None, **wishes: Any) -> RestorationPlan:
    folder.mkdir(exist_ok=True)
    source = saved(folder, scan() if values is None else values)
    asked = {"tile": TILE, "task": "inpaint", "noise_std": 2.5, **BOTH, **wishes}
    return planned(source, folder / "out.ome.zarr", method, **asked)


def layer(plan: RestorationPlan, name: str, level: int = 0) -> NDArray[Any]:
    volume = open_volume(f"{plan.target}/{LAYERS[name].folder}" if name else plan.target, level=level)
    values = volume.read(whole(volume.shape))
    return values[0, 0, 0] if values.shape[:3] == (1, 1, 1) else values


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RestorationPlan:
    """A scan with holes, filled, both layers beside it; not to be changed."""
    with pytest.MonkeyPatch.context() as catalogue:
        add_standins(catalogue)
        plan = made(tmp_path_factory.mktemp("layers") / "a")
        assert carry_out(plan).verdict != "fail"
    return plan


@pytest.fixture
def copied(finished: RestorationPlan, tmp_path: Path) -> Run:
    """The same run and result in a folder that may be harmed."""
    shutil.copytree(Path(finished.target).parent, tmp_path / "copy")
    # Where a result lies is no part of what a plan is.
    return Run.of(finished.model_copy(update={"target": str(tmp_path / "copy" / "out.ome.zarr")}))


def test_layers_are_those_of_the_whole_volume_however_it_is_cut(finished, tmp_path):
    one = made(tmp_path / "one", tile=(1, 140, 530))
    carry_out(one)
    assert len(Run.of(one).grid) == 1 < len(Run.of(finished).grid)
    np.testing.assert_array_equal(layer(finished, "provenance"), layer(one, "provenance"))
    far = uniform_filter(holes().astype(float), 31) == 0
    np.testing.assert_allclose(layer(finished, "spread")[far], layer(one, "spread")[far], rtol=1e-4, atol=1e-4)


def test_a_spread_is_in_the_units_of_the_image(finished):
    seen, reach = np.nan_to_num(scan().astype(float)), SIDE // 2
    far = uniform_filter(holes().astype(float), 2 * SIDE + 1) == 0
    wanted = np.abs(seen - uniform_filter(seen, SIDE))
    inner = (slice(reach, -reach), slice(reach, -reach))
    np.testing.assert_allclose(
        layer(finished, "spread")[inner][far[inner]], wanted[inner][far[inner]], rtol=1e-3, atol=1e-3
    )


def test_a_method_that_samples_shows_its_spread(tmp_path, monkeypatch):
    # So few steps make no good image; it is its spread that is looked at.
    monkeypatch.setitem(carrying.restore_unit.__globals__, "tile_fails", lambda *_: False)
    few = {"steps": 30, "readout.burn_in": 10, "readout.every": 4, "network.width": 8, "network.scales": 2}
    values = scan(has_holes=False)[:48, :96]
    plan = made(tmp_path / "a", "dip_sgld", values, task="denoise", layers=("spread",), overrides=few, tile=(1, 48, 48))
    carry_out(plan)
    run = Run.of(plan)
    # Whether the gate lets it pass or not.
    root = run.workspace.staging if run.workspace.staging.exists() else run.workspace.published
    spread, table = run.parts[1].target(root).read(whole(run.face.shape)), run.ledger.table()
    assert (spread > 0).all()
    # What the ledger holds of each tile is normalised.
    span = plan.channels[0].high - plan.channels[0].low
    assert spread.mean() == pytest.approx(span * float(np.mean(table["spread"])), rel=0.2)


def test_what_was_filled_is_told_from_what_was_measured(finished):
    origin = layer(finished, "provenance")
    np.testing.assert_array_equal(origin, np.where(holes(), FILLED, MEASURED))
    assert np.isfinite(layer(finished, "")).all()


def test_levels_hold_the_least_trusted_and_lie_over_those_of_the_image(finished):
    origin = LAYERS["provenance"]
    for level in range(1, open_volume(finished.target).levels):
        below = layer(finished, "provenance", level - 1)[None, None, None]
        found = layer(finished, "provenance", level)
        np.testing.assert_array_equal(found, of_cells(below, (1, 1, 1, 2, 2), origin)[0, 0, 0])
        assert found.shape == layer(finished, "", level).shape
    assert set(np.unique(found)) == {MEASURED, FILLED}


def test_the_image_is_the_same_with_and_without_layers(finished, tmp_path):
    bare = made(tmp_path / "bare", layers=("none",))
    carry_out(bare)
    assert bare.layers == ()
    levels = {name: held for name, held in tree(Path(bare.target)).items() if "/c/" in name}
    assert levels
    assert {name: held for name, held in tree(Path(finished.target)).items() if name in levels} == levels
    assert bare.fingerprint != finished.fingerprint
    content = bare.model_dump(mode="json")
    del content["layers"]
    assert RestorationPlan.of(content).fingerprint == bare.fingerprint


@pytest.mark.parametrize("method", ["spoilt", "box"])
def test_what_stands_raw_or_has_no_spread_says_so(method, tmp_path, monkeypatch):
    """Nothing passes: the source is kept, its holes are not filled, and no layer tells otherwise."""
    plan = made(tmp_path / "raw", method, layers=("provenance",))
    if method == "spoilt":
        nothing = lambda frame, _: np.full_like(frame.seen, np.nan)  # noqa: E731
        monkeypatch.setattr("ilcore.running.attempts.non_local_means", nothing)
        plan = plan.model_copy(update={"gate": {"failed tiles": (0, 1), "fallen-back tiles": (0, 1)}})
    carry_out(plan)
    origin = layer(plan, "provenance")
    np.testing.assert_array_equal(origin, np.where(holes(), KEPT if method == "spoilt" else FILLED, MEASURED))
    np.testing.assert_array_equal(np.isnan(layer(plan, "")), holes() & (method == "spoilt"))


def test_a_spread_is_unknown_where_something_else_had_to_be_used(tmp_path, monkeypatch):
    really = carrying.restore_unit.__globals__["_accepted"]

    def accepted(bench: Any, view: Any, first: Any) -> Any:
        attempt, findings, status = really(bench, view, first)
        if view.tile.index != (0, 0, 0, 0):
            return attempt, findings, status
        return type(attempt)("classical", attempt.image, "applied"), findings, "fell back"

    monkeypatch.setitem(carrying.restore_unit.__globals__, "_accepted", accepted)
    plan = made(tmp_path / "a", gate={"fallen-back tiles": (0, 1)})
    carry_out(plan)
    keep = Run.of(plan).grid.tile((0, 0, 0, 0)).keep
    unknown = np.zeros(SHAPE, bool)
    unknown[slice(*keep[3]), slice(*keep[4])] = True
    np.testing.assert_array_equal(np.isnan(layer(plan, "spread")), unknown)
    assert np.isfinite(layer(plan, "")).all()


def test_a_finer_result_says_what_its_prior_made(tmp_path):
    plan = made(
        tmp_path / "finer", "back_projection", scan(), task="superres", scale=2, layers=(), tile=(1, 96, 96)
    )  # fmt: skip
    assert plan.layers == ("provenance",)
    report = carry_out(plan)
    assert report.verdict != "fail"
    origin, image = layer(plan, "provenance"), open_volume(plan.target)
    found = open_volume(f"{plan.target}/labels/provenance")
    assert (found.shape, found.scale, found.origin) == (image.shape, image.scale, image.origin)
    np.testing.assert_array_equal(origin == KEPT, np.repeat(np.repeat(holes(), 2, 0), 2, 1))
    assert {KEPT, MEASURED} <= set(np.unique(origin)) <= {KEPT, MEASURED, PRIOR}
    assert np.isfinite(layer(plan, "")[origin != KEPT]).all()
    assert verify(Run.of(plan)) == ()


def test_frames_as_depth_and_several_channels_keep_their_layers_apart(tmp_path):
    values = np.stack([scan(has_holes=False)[:60, :70] + 3 * frame for frame in range(4)])[:, None]
    values = np.concatenate([values, values[:, :, ::-1] * 2], axis=1).astype("f4")
    values[1, 0, 10:20, 10:30] = values[2, 1, 40:50, 40:44] = np.nan
    plan = made(tmp_path / "movie", values=values, axes="tcyx", depth="t", tile=(1, 48, 48))
    carry_out(plan)
    origin, spread = layer(plan, "provenance")[:, :, 0], layer(plan, "spread")[:, :, 0]
    np.testing.assert_array_equal(origin, np.where(np.isnan(values), FILLED, MEASURED))
    assert spread.shape == values.shape
    assert np.isfinite(spread).all()
    # The second channel is twice as bright.
    assert 1.5 < np.median(spread[:, 1]) / np.median(spread[:, 0]) < 2.5


def test_shares_are_counted_told_and_shown(finished):
    run = Run.of(finished)
    record, share = read_record(run.workspace), holes().mean()
    assert record["provenance"]["filled"] == pytest.approx(share, rel=1e-5)
    assert sum(record["provenance"].values()) == pytest.approx(1)
    assert record["numbers"]["share_filled"] == pytest.approx(share, rel=1e-5)
    assert record["layers"] == {"spread": "spread", "provenance": "labels/provenance"}
    page = run.workspace.report.read_text()
    assert f"measured {100 * (1 - share):.1f} %, filled {100 * share:.1f} %" in page
    assert LAYERS["spread"].meaning in page
    for name in ("spread", "provenance"):
        assert (run.workspace.pictures / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("stage", "after"), [("assemble_block", 4), ("write_root", 0)])
def test_a_stopped_run_goes_on_to_the_same_bytes(stage, after, finished, tmp_path, monkeypatch):
    """Stopped where of one block the image is written and its layers are not; and where only layers have metadata."""
    plan = made(tmp_path / "b")
    really, done = getattr(carrying.stages, stage), list[Any]()

    def killed(*given: Any, **more: Any) -> Any:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(given)
        return really(*given, **more)

    with monkeypatch.context() as broken:
        broken.setattr(carrying.stages, stage, killed)
        with pytest.raises(KeyboardInterrupt):
            carry_out(plan)
    carry_out(plan)
    # The root says where the source lies.
    one, other = (tree(Path(each.target)) | {"zarr.json": b""} for each in (plan, finished))
    assert one == other


@pytest.mark.parametrize(
    ("place", "harm"),
    [
        ("labels/provenance/0", flip),
        ("labels/provenance/1", cut),
        ("spread/0", Path.unlink),
        ("spread/1", flip),
        ("0", flip),
    ],
)
def test_a_damaged_chunk_of_a_layer_is_found_and_made_again(place, harm, copied):
    run = copied
    assert verify(run) == ()
    before = tree(run.workspace.target)
    harm(chunks(run.workspace.target, place)[-1])
    found = verify(run)
    assert found[0].place == place
    assert {each.place.rpartition("/")[0] for each in found} == {place.rpartition("/")[0]}
    write_damage(run.workspace, found)
    assert repair(run) == len(found)
    assert tree(run.workspace.target) == before
    assert verify(run) == ()


def test_tiles_restored_again_have_the_same_layers(copied):
    assert is_sound(audit(copied, tiles=2, seed=0))


@pytest.mark.parametrize("is_kept", [True, False])
def test_lost_metadata_of_a_layer_are_put_back(is_kept, copied):
    run = copied
    before = tree(run.workspace.target)
    if not is_kept:
        run.workspace.metadata.unlink()
    lost = ("labels/zarr.json", "labels/provenance/zarr.json", *(["spread/0/zarr.json"] if is_kept else []))
    for place in lost:
        (run.workspace.target / place).unlink()
    found = verify(run)
    assert found
    write_damage(run.workspace, found)
    repair(run)
    after = tree(run.workspace.target)
    assert after.keys() == before.keys()
    for place in before:
        same = json.loads(after[place]) == json.loads(before[place]) if place.endswith(".json") else (
            after[place] == before[place]
        )  # fmt: skip
        assert same, place


def test_a_layer_lost_under_way_is_assembled_again(finished, tmp_path, monkeypatch):
    plan = made(tmp_path / "e")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(carrying.stages, "measure_seams", killed)
        with pytest.raises(KeyboardInterrupt):
            carry_out(plan)
    run = Run.of(plan)
    for path in (run.workspace.staging / "labels/provenance/0").rglob("*"):
        if path.is_file():
            path.unlink()
    assert len(run.ledger.open_blocks()) == 0
    flip(chunks(run.workspace.staging, "spread/0")[0])
    assert {each.place for each in verify(run)} == {"labels/provenance/0", "spread/0"}
    write_damage(run.workspace, verify(run))
    repair(run)
    carry_out(plan)
    np.testing.assert_array_equal(layer(plan, "provenance"), layer(finished, "provenance"))
    np.testing.assert_array_equal(layer(plan, "spread"), layer(finished, "spread"))
    assert verify(Run.of(plan)) == ()


def test_what_a_file_has_no_place_for_is_told_and_can_be_exported_by_itself(finished, tmp_path):
    plain = open_volume(export_volume(finished.target, tmp_path / "a.ome.tif"))
    assert [remark for remark in plain.remarks if "layer provenance" in remark and "labels/provenance" in remark]
    cog = export_volume(finished.target, tmp_path / "b.tif", as_cog=True)
    assert "labels/provenance" in str(open_volume(cog).about.attributes)
    alone = open_volume(export_volume(f"{finished.target}/labels/provenance", tmp_path / "c.ome.tif"))
    np.testing.assert_array_equal(alone.read(whole(alone.shape))[0, 0, 0], layer(finished, "provenance"))


def test_an_older_format_holds_the_same_layers(finished, tmp_path):
    plan = made(tmp_path / "old", result_format="ome-zarr 0.4")
    carry_out(plan)
    for name in ("spread", "provenance"):
        np.testing.assert_array_equal(layer(plan, name), layer(finished, name))
    assert zarr.open_group(plan.target, mode="r")["labels"].attrs["labels"] == ["provenance"]
    assert verify(Run.of(plan)) == ()


def test_a_plan_that_wants_what_cannot_be_is_one_clear_error(tmp_path):
    with pytest.raises(BadInput, match="a spread wants a method that averages .* got box .*sampled"):
        made(tmp_path / "f", "box")
    with pytest.raises(BadInput, match="for task copy; leave them out"):
        made(tmp_path / "g", "copy", task="copy")
    with pytest.raises(BadInput, match="layers must be spread, provenance or none, got 'sprad'"):
        made(tmp_path / "h", layers=("sprad",))
    assert not Workspace.of(tmp_path / "f" / "out.ome.zarr").root.exists()
    good = made(tmp_path / "i").model_dump(mode="json")
    with pytest.raises(BadPlan, match="in that order"):
        RestorationPlan.of({**good, "layers": ["provenance", "spread"]})
    with pytest.raises(BadPlan, match="averages images"):
        RestorationPlan.of({**good, "method": "box"})
