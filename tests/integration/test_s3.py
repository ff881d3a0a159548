"""A restoration from and to a real S3 server: the same bytes as on a disk, published in one step, one run at a time."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import s3fs
import zarr

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput, BadVolume, Busy, CorruptData, StoreError
from ilcore.keeping.repair import repair
from ilcore.keeping.verify import verify
from ilcore.results import generations
from ilcore.results.destination import check_destination
from ilcore.running import stages
from ilcore.running.carry_out import carry_out
from ilcore.running.damage import write_damage
from ilcore.running.run import Run
from ilcore.running.tile import restore_unit
from ilcore.running.workspace import Workspace
from ilcore.stores import store_lock
from ilcore.stores.objects import S3
from ilcore.stores.places import place_of, remove, write_text
from ilcore.stores.store_lock import StoreLock
from tests.dying import WatchedExecutor, carry_out_until
from tests.scenes import noisy, scene
from tests.standins import add_standins, planned, saved

TILE = (1, 96, 64)
#: Clients with a wrong secret; kept, since they complain when they are forgotten.
REFUSED: dict[str, object] = {}


@pytest.fixture(autouse=True)
def standins(monkeypatch):
    add_standins(monkeypatch)
    monkeypatch.setattr(store_lock, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(store_lock, "LOOKS", 5)


@pytest.fixture(scope="module")
def picture():
    # High enough for a second level.
    return (noisy(scene("cells", (264, 64), 0), std=0.05, seed=0) * 4000).clip(0, 65535).astype("u2")


@pytest.fixture(scope="module")
def scan(picture, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("scan"), picture)


@pytest.fixture(scope="module")
def made(scan, tmp_path_factory):
    with pytest.MonkeyPatch.context() as catalogue:
        add_standins(catalogue)
        return planned(scan, tmp_path_factory.mktemp("made") / "out.ome.zarr", "box", tile=TILE)


@pytest.fixture
def plan(made, bucket):
    """A plan whose result goes to the store."""
    return made.model_copy(update={"target": f"{bucket}/out.ome.zarr"})


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def generation(found):
    """Split the objects of a result into its root, the name of its generation, and what that holds."""
    names = {name.partition("/")[0] for name in found} - {"zarr.json"}
    assert len(names) == 1, names
    name = names.pop()
    inside = {path.removeprefix(f"{name}/"): content for path, content in found.items() if path != "zarr.json"}
    return json.loads(found["zarr.json"]), name, inside


def test_the_same_bytes_as_on_a_disk(picture, bucket, s3_server, tmp_path):
    zarr.create_array(f"{tmp_path}/scan.zarr", data=picture, chunks=(64, 64), dimension_names=("y", "x"))
    s3_server.files.put(f"{tmp_path}/scan.zarr", f"{bucket}/scan.zarr", recursive=True)
    carry_out(planned(tmp_path / "scan.zarr", tmp_path / "out.ome.zarr", "box", tile=TILE))
    plan = planned(f"{bucket}/scan.zarr", f"{bucket}/out.ome.zarr", "box", tile=TILE)
    verdict = carry_out(plan).verdict
    wanted = tree(tmp_path / "out.ome.zarr")
    root, name, inside = generation(s3_server.objects(plan.target))
    assert {k: v for k, v in inside.items() if k != "zarr.json"} == {
        k: v for k, v in wanted.items() if k != "zarr.json"
    }
    # Of the root only the source differs.
    assert json.loads(inside["zarr.json"])["attributes"]["ome"] == json.loads(wanted["zarr.json"])["attributes"]["ome"]
    assert [level["path"] for level in root["attributes"]["ome"]["multiscales"][0]["datasets"]] == [
        f"{name}/0",
        f"{name}/1",
    ]
    assert Workspace.of(plan.target).published.name == name
    result = open_volume(plan.target)
    assert (result.format, result.levels) == ("ome-zarr 0.5", 2)
    region = ((0, 1), (0, 1), (0, 1), (10, 200), (20, 60))
    np.testing.assert_array_equal(result.read(region), open_volume(tmp_path / "out.ome.zarr").read(region))
    left = {name.partition("/")[0] for name in s3_server.objects(f"{plan.target}.il")}
    assert left == {
        "devices.json", "ledger.zarr", "lock", "metadata.json", "null-test.json", "pictures", "plan.copy.yaml",
        "plan.yaml", "qa.ome.zarr", "record.json", "report.html",
    }  # fmt: skip
    assert carry_out(plan).verdict == verdict


def test_nobody_finds_a_refused_result(scan, bucket, s3_server):
    plan = planned(scan, f"{bucket}/out.ome.zarr", "spoilt", sure=True, noise_std=200.0, tile=TILE)
    plan = plan.model_copy(update={"scope": "volume"})
    assert carry_out(plan).verdict == "fail"
    assert any(name.endswith("0/zarr.json") for name in s3_server.objects(plan.target))
    with pytest.raises(BadVolume, match="there is none"):
        open_volume(plan.target)


def test_the_previous_result_stays_until_the_new_one_is_in_its_place(plan, s3_server, monkeypatch):
    carry_out(plan)
    before = s3_server.objects(plan.target)
    with pytest.raises(BadInput, match="--overwrite"):
        carry_out(plan.model_copy(update={"seed": 5}))
    seen = []
    judged = stages.verdict_of
    monkeypatch.setattr(
        stages, "verdict_of", lambda *given: (seen.append(s3_server.objects(plan.target)), judged(*given))[1]
    )
    carry_out(plan, overwrite=True)
    assert [now.items() >= before.items() for now in seen] == [True]
    after = s3_server.objects(plan.target)
    _, name, inside = generation(after)
    assert name == f"{plan.fingerprint[:8]}-2"
    assert inside == generation(before)[2]


class Killed(BaseException):
    """What a kill is for the process itself: nothing is cleaned up."""


@pytest.mark.parametrize("step", ["before the root", "before the previous one is deleted", "before it is noted"])
def test_publishing_that_was_interrupted_is_finished(step, plan, s3_server, monkeypatch):
    carry_out(plan)
    before = s3_server.objects(plan.target)

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(*{
            "before the root": (generations, "write_text"),
            "before the previous one is deleted": (generations, "remove"),
            "before it is noted": (Workspace, "forget_staging"),
        }[step], killed)  # fmt: skip
        with pytest.raises(Killed):
            carry_out(plan, overwrite=True)
    if step == "before the root":
        assert s3_server.objects(plan.target).items() >= before.items()
    assert open_volume(plan.target).levels == 2
    carry_out(plan, executor=WatchedExecutor(computes=killed))
    _, name, inside = generation(s3_server.objects(plan.target))
    assert name != generation(before)[1]
    assert inside == generation(before)[2]
    assert not place_of(f"{plan.target}.il/generation").exists()


def test_only_missing_units_are_done_again(plan):
    done, again = [], []

    def once(unit):
        if done:
            raise KeyboardInterrupt
        done.append(unit)

    carry_out_until(plan, computes=once)
    carry_out(plan, executor=WatchedExecutor(computes=again.append))
    assert len(done) == 1
    assert not set(done) & set(again)
    assert len(again) == len(list(plan.tile_grid.units())) - 1


def test_a_damaged_tile_is_told_and_never_published(plan, s3_server):
    def damage(_):
        name = next(name for name in s3_server.objects(f"{plan.target}.il/scratch.zarr") if name.startswith("c/"))
        place = place_of(f"{plan.target}.il/scratch.zarr/{name}")
        content = bytearray(place.read_bytes())
        content[len(content) // 2] ^= 255
        place.fs.pipe_file(place.path, bytes(content))

    with pytest.raises(CorruptData):
        carry_out(plan, executor=WatchedExecutor(moves=damage))
    with pytest.raises(BadVolume):
        open_volume(plan.target)


def test_a_second_run_is_refused_while_the_first_lives(bucket):
    first, second = (Workspace.of(f"{bucket}/out.ome.zarr") for _ in range(2))
    with first.locked():
        with pytest.raises(Busy, match="process"), second.locked():
            pass
        first.check_lock(is_sure=True)
    with second.locked():
        pass


def test_a_place_in_which_nothing_was_begun_is_gone(bucket, s3_server):
    workspace = Workspace.of(f"{bucket}/out.ome.zarr")
    with workspace.locked():
        assert set(s3_server.objects(str(workspace.root))) == {"lock"}
    assert not s3_server.objects(str(workspace.root))
    with workspace.locked():
        write_text(workspace.plan, "plan")
    assert set(s3_server.objects(str(workspace.root))) == {"lock", "plan.yaml"}


def dead(bucket):
    """Return a lock whose holder was killed."""
    lock = StoreLock(place_of(f"{bucket}/out.ome.zarr.il/lock"), "out")
    lock.take()
    lock._stop.set()
    lock._heart.join()
    return lock


def test_the_lock_of_the_dead_is_taken_over_and_the_dead_know_it(bucket):
    first = dead(bucket)
    began = time.monotonic()
    with Workspace.of(f"{bucket}/out.ome.zarr").locked():
        assert time.monotonic() - began >= store_lock.LOOKS * store_lock.BEAT_SECONDS
        with pytest.raises(Busy, match="took over"):
            first.check(is_sure=True)
        # It has to be asked for no more.
        with pytest.raises(Busy, match="took over"):
            first.check()
        first.release()
        with pytest.raises(Busy, match="got another"), Workspace.of(f"{bucket}/out.ome.zarr").locked():
            pass


def test_of_many_that_find_a_dead_holder_one_takes_over(bucket):
    dead(bucket)
    taken, refused = [], []

    def run():
        lock = StoreLock(place_of(f"{bucket}/out.ome.zarr.il/lock"), "out")
        try:
            lock.take()
            taken.append(lock)
        except Busy:
            refused.append(lock)

    runs = [threading.Thread(target=run) for _ in range(4)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert (len(taken), len(refused)) == (1, 3)
    taken[0].release(is_last=True)


def test_a_run_that_lost_its_lock_publishes_nothing(plan, s3_server, monkeypatch):
    judged = stages.verdict_of

    def stolen(*given):
        write_text(place_of(f"{plan.target}.il/lock"), json.dumps({"holder": "another", "beat": 1}))
        return judged(*given)

    monkeypatch.setattr(stages, "verdict_of", stolen)
    with pytest.raises(Busy, match="took over"):
        carry_out(plan)
    with pytest.raises(BadVolume):
        open_volume(plan.target)
    assert json.loads(s3_server.objects(f"{plan.target}.il")["lock"])["holder"] == "another"


def test_a_worker_whose_run_was_replaced_writes_nothing(plan):
    workspace = Workspace.of(plan.target)
    with workspace.locked():
        stages.prepare(Run(plan, workspace))
        other = plan.model_copy(update={"seed": 9})
        stages.prepare(Run(other, workspace), overwrite=True)
        for work in (
            lambda: restore_unit(Run(plan, workspace), (0, 0, 0, 0)),
            lambda: stages.assemble_block(Run(plan, workspace), 0),
        ):
            with pytest.raises(Busy, match="another run there"):
                work()
    assert (Run(plan, workspace).ledger.read("status") == 0).all()


def test_a_store_without_conditions_is_refused(bucket, monkeypatch):
    def write_anyway(self, place, content, tag):
        self.write_bytes(place, content)
        return "tag"

    monkeypatch.setattr(S3, "write_if", write_anyway)
    with pytest.raises(StoreError, match="refuses to write on a condition"), Workspace.of(f"{bucket}/out").locked():
        pass


def test_one_clear_error_where_the_store_refuses(scan, bucket, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    # Clients that were made with the right one are known by their options, which are the same.
    monkeypatch.setattr(s3fs.S3FileSystem, "_cache", REFUSED)
    with pytest.raises(StoreError, match="credentials in the environment"):
        open_volume(f"{bucket}/scan.zarr")
    with pytest.raises(StoreError, match="credentials in the environment"):
        check_destination(f"{bucket}/out.ome.zarr", scan)


def test_a_destination_apart_from_the_source_and_not_somebody_elses(scan, bucket, s3_server):
    with pytest.raises(BadInput, match="one lies inside the other"):
        check_destination(f"{bucket}/scan.zarr/out.ome.zarr", f"{bucket}/scan.zarr")
    write_text(place_of(f"{bucket}/out.ome.zarr/thesis.txt"), "mine")
    with pytest.raises(BadInput, match="no Zarr folder"):
        check_destination(f"{bucket}/out.ome.zarr", scan, overwrite=True)
    assert s3_server.objects(f"{bucket}/out.ome.zarr") == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("what", ["a flipped byte", "no root"])
def test_damage_in_a_store_is_found_and_made_again(what, plan, s3_server):
    carry_out(plan)
    whole = s3_server.objects(plan.target)
    name = "zarr.json" if what == "no root" else next(name for name in whole if "/0/c/" in name)
    place = place_of(f"{plan.target}/{name}")
    if what == "a flipped byte":
        place.fs.pipe_file(place.path, whole[name][:-9] + bytes([whole[name][-9] ^ 255]) + whole[name][-8:])
    else:
        remove(place)
    workspace = Workspace.of(plan.target)
    with workspace.locked():
        found = verify(Run(plan, workspace))
        assert {each.place for each in found} >= {"root" if what == "no root" else "0"}
        write_damage(workspace, found)
        assert repair(Run(plan, workspace)) == len(found)
        assert not verify(Run(plan, workspace))
    assert s3_server.objects(plan.target) == whole


def test_a_result_of_the_older_format_replaces_one_of_the_newer_and_is_replaced(plan, s3_server):
    other = plan.model_copy(update={"result_format": "ome-zarr 0.4"})
    for each, wanted in ((plan, {"zarr.json"}), (other, {".zgroup", ".zattrs"}), (plan, {"zarr.json"})):
        carry_out(each, overwrite=True)
        assert open_volume(each.target).format == each.result_format
        assert {name for name in s3_server.objects(each.target) if "/" not in name} == wanted


def test_layers_lie_in_the_generation_and_the_root_says_where(scan, bucket, s3_server, tmp_path):
    wishes = {"tile": TILE, "layers": ("spread", "provenance")}
    here = planned(scan, tmp_path / "out.ome.zarr", "sampled", **wishes)
    plan = planned(scan, f"{bucket}/out.ome.zarr", "sampled", **wishes)
    for each in (here, plan):
        assert carry_out(each).verdict != "fail"
    root, name, inside = generation(s3_server.objects(plan.target))
    wanted = tree(tmp_path / "out.ome.zarr")
    assert {k: v for k, v in inside.items() if k != "zarr.json"} == {
        k: v for k, v in wanted.items() if k != "zarr.json"
    }
    layers = root["attributes"]["ilcore"]["layers"]
    assert layers == {"spread": f"{name}/spread", "provenance": f"{name}/labels/provenance"}
    for folder in layers.values():
        assert open_volume(f"{plan.target}/{folder}").shape == open_volume(plan.target).shape
    assert verify(Run.of(plan)) == ()
