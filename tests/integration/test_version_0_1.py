"""What version 0.1 made opens, verifies, resumes and explains itself, or says clearly why not.

The fixtures lie in tests/fixtures/v0_1, as version 0.1 made them, and must never be made anew. SAME holds for all of
them now. Whoever changes what a method computes moves the rows concerned to WORD, and makes `il resume` and `il audit`
say so: a result of mixed voxels is never published in silence, and an old result is never called wrong.
"""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from ilcore.adapting.weights import SHIPPED, sha256_of
from ilcore.archives.agenda import agenda
from ilcore.archives.books import Books
from ilcore.archives.discover import discover
from ilcore.archives.policy import read_archive
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadWeights, ILError
from ilcore.grammar.region import whole
from ilcore.keeping.audit import audit, is_sound
from ilcore.keeping.verify import verify
from ilcore.planning.plan import RestorationPlan, read_plan
from ilcore.running.ledger import STATUS, Ledger
from ilcore.running.local import carry_out
from ilcore.running.stages import check_source, check_start_weights, made_by
from ilcore.running.workspace import Workspace
from ilcore.stores import store_lock
from tests.fixtures.v0_1.packing import HERE, STORE, digest_of, files_of, unpack

EXPECTED: dict[str, Any] = json.loads((HERE / "expected.json").read_text())
#: What is owed: the very same bytes, or an error of ours that names what has changed and what to do.
SAME, WORD = "same bytes", "a clear sentence"
#: Of every run that was killed: what resuming it must give.
RESUMED = {
    "killed_at_tiles": SAME,
    # Version 2 of zs_n2n does not show its network what stands in holes.
    "killed_at_learnt_tiles": WORD,
    # The rule of `adapted` does not take errors of neighbouring pixels for independent any more.
    "killed_at_pretrained_tiles": WORD,
    "killed_at_assembling": SAME,
    "killed_before_publishing": SAME,
    "killed_while_replacing": SAME,
}
#: Of every published result: what restoring its tiles once more, as an audit does, must give. It opens, verifies, tells
#: its standing and can be exported in any case.
REPLAYED = {
    "plane": SAME, "levels": SAME, "levels_0_4": SAME, "part": SAME, "stack": SAME, "stack_0_4": SAME, "movie": SAME,
    # Version 2 of nl_ridge places its groups otherwise.
    "channels": SAME, "holes": WORD, "filled": SAME, "earth": SAME, "earth_0_4": SAME, "sharded": SAME,
    "stabilised": SAME, "fallen_back": SAME, "pretrained": SAME,
    # Its weights are not kept in the fixture: they are the shipped ones, or the audit says which they must be.
    "shipped": SAME if sha256_of(SHIPPED) == EXPECTED["shipped_weights"] else WORD,
}  # fmt: skip
#: Files in which a later version says something better: contrast for viewers leaves missing values out.
TOLD_ANEW = {"killed_while_replacing": {"zarr.json"}}
#: Of every plan that nobody has begun to carry out: all of them are read and are the same plans; this one starts from
#: weights that a later version may not have any more.
NAMES_WEIGHTS = "adapted_shipped"


def unpacked(name: str, folder: Path) -> Path:
    return unpack(name, folder / name, SHIPPED.parent)


def run_in(folder: Path) -> tuple[RestorationPlan, Workspace]:
    workspace = Workspace.of(folder / "out.ome.zarr")
    return workspace.plan_of_run(), workspace


def il(*words: object) -> Result:
    from flows.cli import app

    return CliRunner().invoke(app, [str(word) for word in words])


def check_result(target: str, wanted: dict[str, Any]) -> None:
    """Compare a result with what version 0.1 found in it."""
    volume = open_volume(target)
    assert (volume.format, list(volume.scale), list(volume.units), bool(volume.about.crs)) == (
        wanted["format"], wanted["scale"], wanted["units"], wanted["crs"],
    )  # fmt: skip
    assert volume.channels == (None if wanted["channels"] is None else tuple(wanted["channels"]))
    assert volume.levels == len(wanted["levels"])
    for level, told in enumerate(wanted["levels"]):
        opened = open_volume(target, level=level)
        held = opened.read(whole(opened.shape))
        assert (list(opened.shape), opened.dtype.name, opened.axes) == (told["shape"], told["dtype"], told["axes"])
        assert float(held[tuple(length // 2 for length in held.shape)]) == told["middle"]
        assert np.nanmean(held.astype("f8")) == pytest.approx(told["mean"], rel=1e-12)
        assert digest_of(held) == told["voxels"]


def standing_of(plan: RestorationPlan, workspace: Workspace) -> dict[str, Any]:
    ledger = Ledger(workspace.ledger, plan.tile_grid)
    status, assembled = ledger.read("status"), ledger.read("assembled")
    counted = {word: int((status == number).sum()) for number, word in enumerate(STATUS) if (status == number).any()}
    return {
        "fingerprint": plan.fingerprint, "method": plan.method, "scope": plan.scope, "tiles": counted,
        "blocks": [int((assembled > 0).sum()), len(assembled)],
    }  # fmt: skip


def owed(promise: str, work: Any) -> Any:
    """Do something that is owed; of what is no more the same, one sentence says so and names a way out."""
    if promise == SAME:
        return work()
    with pytest.raises(ILError) as caught:
        work()
    assert any(word in str(caught.value) for word in ("plan again", "restore again", "--overwrite")), caught.value
    return None


def test_every_fixture_has_its_row() -> None:
    packed = {path.name.removesuffix(".tar.xz") for path in HERE.glob("*.tar.xz")}
    assert packed == {*RESUMED, *REPLAYED, "refused", "plans", "archive", "platform", "store", "store_generations"}
    assert set(RESUMED) == set(EXPECTED["stopped"])
    assert {*REPLAYED, "refused"} == set(EXPECTED["results"])
    assert sum(path.stat().st_size for path in HERE.iterdir() if path.is_file()) < 2_000_000


@pytest.mark.parametrize("name", REPLAYED)
def test_a_result_opens_and_verifies(name: str, tmp_path: Path) -> None:
    folder, wanted = unpacked(name, tmp_path), EXPECTED["results"][name]
    plan, workspace = run_in(folder)
    assert files_of(folder / "out.ome.zarr", folder) == wanted["files"], "unpacked as it was packed"
    check_result(plan.target, wanted["result"])
    assert made_by(workspace.target) == plan.fingerprint
    assert standing_of(plan, workspace) == {
        key: wanted["run"][key] for key in ("fingerprint", "method", "scope", "tiles", "blocks")
    }
    assert verify(plan, workspace) == ()
    assert check_source(plan).shape == plan.source.shape
    assert open_volume(f"{workspace.root}/qa.ome.zarr").levels == 1


@pytest.mark.parametrize("name", REPLAYED)
def test_a_result_is_explained(name: str, tmp_path: Path) -> None:
    folder = unpacked(name, tmp_path)
    if name == "shipped":
        (folder / "out.ome.zarr.il/weights").mkdir()
        shutil.copy(SHIPPED, folder / "out.ome.zarr.il/weights/start.safetensors")
    points = audit(*run_in(folder), tiles=1, seed=0)
    found = {point.name: point for point in points}
    assert {key: found[key].finding for key in ("source", "books", "voxels")} == dict.fromkeys(
        ("source", "books", "voxels"), "sound"
    )
    if REPLAYED[name] == SAME:
        assert is_sound(points), points
        return
    assert not is_sound(points)
    told = [point.told for point in points if point.finding == "differs" and point.name in ("weights", "replay")]
    assert told
    assert all("plan again" in each or "0.1" in each for each in told)


@pytest.mark.parametrize("name", RESUMED)
def test_a_killed_run_is_resumed(name: str, tmp_path: Path) -> None:
    folder, expected = unpacked(name, tmp_path), EXPECTED["stopped"][name]
    plan, workspace = run_in(folder)
    before = standing_of(plan, workspace)
    assert before == {key: expected["run"][key] for key in before}
    assert verify(plan, workspace) == ()
    owed(RESUMED[name], lambda: carry_out(plan))
    if RESUMED[name] == WORD:
        after = standing_of(plan, workspace)
        assert after == before, "nothing of it is lost"
        return
    check_result(plan.target, expected["wanted"]["result"])
    found, wanted = files_of(folder / "out.ome.zarr", folder), expected["wanted"]["files"]
    assert {path for path in found if found[path] != wanted[path]} <= TOLD_ANEW.get(name, set())
    assert set(found) == set(wanted)
    assert verify(plan, workspace) == ()
    assert not workspace.scratch.exists()


def test_what_was_done_before_the_kill_is_not_done_again(tmp_path: Path) -> None:
    plan, workspace = run_in(unpacked("killed_at_tiles", tmp_path))
    ledger = Ledger(workspace.ledger, plan.tile_grid)
    done, seconds = ledger.read("status") > 0, ledger.read("seconds")
    assert 0 < done.sum() < done.size
    carry_out(plan)
    np.testing.assert_array_equal(Ledger(workspace.ledger, plan.tile_grid).read("seconds")[done], seconds[done])


def test_the_finished_is_not_done_again(tmp_path: Path) -> None:
    folder = unpacked("plane", tmp_path)
    plan, _ = run_in(folder)
    before = files_of(folder, folder)
    assert carry_out(plan).verdict == EXPECTED["results"]["plane"]["run"]["verdict"]
    lock = {"out.ome.zarr.il/lock": "says who looked"}
    assert files_of(folder, folder) | lock == before | lock


def test_the_refused_stays_refused(tmp_path: Path) -> None:
    folder = unpacked("refused", tmp_path)
    plan, workspace = run_in(folder)
    assert carry_out(plan).verdict == "fail"
    assert not workspace.target.exists()
    told = il("qa", plan.target)
    assert (told.exit_code, "shift" in told.output) == (3, True)
    assert "refused by the QA gate" in il("status", plan.target, "--json").output


@pytest.mark.parametrize("name", ["plane", "earth", "earth_0_4", "levels_0_4"])
def test_the_command_line_works_on_it(name: str, tmp_path: Path) -> None:
    folder = unpacked(name, tmp_path)
    target = folder / "out.ome.zarr"
    status = json.loads(il("status", target, "--json").output)
    assert (status["state"], status["verdict"]) == ("published", EXPECTED["results"][name]["run"]["verdict"])
    told = il("verify", target, "--json")
    assert (told.exit_code, json.loads(told.output)["damage"]) == (0, [])
    assert il("qa", target).exit_code == 0
    exported = il("export", target, folder / "out.tif")
    assert exported.exit_code == 0, exported.output
    np.testing.assert_array_equal(
        open_volume(folder / "out.tif").read(whole(open_volume(target).shape)),
        open_volume(target).read(whole(open_volume(target).shape)),
    )
    told = il("report", target, "--copy", folder / "page.html")
    assert told.exit_code == (0 if name == "plane" else 2), "only this fixture holds its page"
    if name == "plane":
        assert "data:image/png" in (folder / "page.html").read_text()


def test_the_command_line_audits_it(tmp_path: Path) -> None:
    target = unpacked("plane", tmp_path) / "out.ome.zarr"
    told = il("audit", target, "--tiles", 4, "--seed", 0, "--device", "cpu")
    assert (told.exit_code == 0) == (REPLAYED["plane"] == SAME), told.output
    assert "replay" in told.output


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_il_resume_ends_it(tmp_path: Path, prefect_server: Any) -> None:
    """Slow: a real server, real workers."""
    from tests.il import Il

    folder = unpacked("killed_at_tiles", tmp_path)
    code, told, trouble = Il(prefect_server.environment)("resume", folder / "out.ome.zarr", "--device", "cpu")
    assert code == 0, told + trouble
    check_result(str(folder / "out.ome.zarr"), EXPECTED["stopped"]["killed_at_tiles"]["wanted"]["result"])


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked("plans", tmp_path_factory.mktemp("plans"))


@pytest.mark.parametrize("name", EXPECTED["plans"])
def test_a_plan_is_the_same_plan(name: str, plans: Path) -> None:
    plan = read_plan(plans / f"{name}.yaml")
    assert plan.fingerprint == EXPECTED["plans"][name]["fingerprint"]
    assert len(plan.tile_grid) == EXPECTED["plans"][name]["tiles"]
    assert RestorationPlan.from_yaml(plan.to_yaml()) == plan
    assert check_source(plan).digest() == plan.source.digest
    assert plan.entry.name == plan.method


def test_a_short_nights_plans_say_so(plans: Path) -> None:
    rungs = [read_plan(path) for path in sorted(plans.glob("zs_n2n_rung_*.yaml"))]
    assert [plan.overrides["stop.steps"] for plan in rungs] == [3, 6]
    assert all("for want of time" in plan.why for plan in rungs)


@pytest.mark.parametrize("are_replaced", [False, True])
def test_weights_that_are_gone_are_named(are_replaced: bool, plans: Path, tmp_path: Path) -> None:
    plan = read_plan(plans / f"{NAMES_WEIGHTS}.yaml")
    assert plan.weights is not None
    assert plan.weights.sha256 == EXPECTED["shipped_weights"]
    if are_replaced:
        other = tmp_path / SHIPPED.name
        other.write_bytes(SHIPPED.read_bytes() + b"another")
        plan = plan.model_copy(update={"weights": plan.weights.model_copy(update={"path": str(other)})})
    elif sha256_of(Path(plan.weights.path)) == plan.weights.sha256:
        check_start_weights(plan)
        return
    with pytest.raises(BadWeights, match=f"{plan.weights.sha256[:12]}.*plan again"):
        carry_out(plan.model_copy(update={"target": str(tmp_path / "out.ome.zarr")}))
    assert not (tmp_path / "out.ome.zarr.il").exists()


def test_the_books_are_read_and_the_agenda_knows(tmp_path: Path) -> None:
    folder, wanted = unpacked("archive", tmp_path), EXPECTED["archive"]
    archive = read_archive(folder / "ARCHIVE.yaml")
    scans, trouble = discover(archive)
    assert trouble == []
    books = Books.of(archive.books)
    items = {Path(item.scan.source).stem: item for item in agenda(archive, scans, books)}
    assert {name: item.todo for name, item in items.items()} == wanted["agenda"]
    assert {"done", "improve", "quarantine", "resume", "new"} <= set(wanted["agenda"].values())
    entries = {name: entry for name, item in items.items() if (entry := books.entry(item.scan))}
    assert {name: entry.standing for name, entry in entries.items()} == wanted["standings"]
    assert {"done", "quarantined", "refused", "begun"} <= set(wanted["standings"].values())
    assert {name: entry.degraded for name, entry in entries.items()} == wanted["degraded"]
    assert len(books.nights()) == wanted["nights"] == 2
    assert all(books.night(name)["scans"] for name in books.nights())
    assert len(books.history("lamp")) == wanted["remembered"] > 0
    assert list(books.growth("zs_n2n-tile", 3) or ()) == (wanted["growth"] or [])
    for name, result in wanted["results"].items():
        check_result(items[name].scan.target, result)
        assert verify(*run_at(items[name].scan.target)) == ()
    dry = il("nightly", folder / "ARCHIVE.yaml", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert all(item.scan.source in dry.output for item in items.values())


def run_at(target: str) -> tuple[RestorationPlan, Workspace]:
    workspace = Workspace.of(target)
    return workspace.plan_of_run(), workspace


def test_an_archive_is_audited(tmp_path: Path) -> None:
    folder = unpacked("archive", tmp_path)
    told = il("audit", folder / "ARCHIVE.yaml", "--tiles", 1, "--seed", 0, "--device", "cpu")
    assert told.exit_code == 0, told.output
    done = list(EXPECTED["archive"]["standings"].values()).count("done")
    assert f"{done} of {done} results are sound" in told.output


def test_a_platforms_folder_is_understood(tmp_path: Path) -> None:
    from tasks.services.supervising import is_running, platform_in

    folder, wanted = unpacked("platform", tmp_path), EXPECTED["platform"]
    platform = platform_in(folder)
    assert not is_running(folder)
    assert {name: platform.port(name) for name in wanted["ports"]} == wanted["ports"]
    assert platform.workers == wanted["workers"]
    exported = [shlex.split(line)[1] for line in (folder / "environment").read_text().splitlines()]
    assert dict(line.split("=", 1) for line in exported) == wanted["environment"]
    # Since then the servers have doors: the same addresses, Dask's encrypted, and a password beside them.
    for name, address in wanted["environment"].items():
        assert platform.environment[name].partition("://")[2] == address.partition("://")[2]


@pytest.fixture
def stored(bucket: str, s3_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a fixture into a store and return its plan and workspace there."""
    monkeypatch.setattr(store_lock, "BEAT_SECONDS", 0.2)

    def put(name: str) -> tuple[RestorationPlan, Workspace]:
        objects = unpacked(name, tmp_path) / "objects"
        for path in sorted(each for each in objects.rglob("*") if each.is_file()):
            content = path.read_bytes()
            if path.suffix in (".json", ".yaml"):
                content = content.replace(STORE.encode(), bucket.encode())
            s3_server.files.pipe_file(f"{bucket}/{path.relative_to(objects)}", content)
        return run_at(f"{bucket}/out.ome.zarr")

    return put


def test_a_result_in_a_store_opens_and_verifies(stored: Any) -> None:
    plan, workspace = stored("store")
    wanted = EXPECTED["stores"]["store"]
    check_result(plan.target, wanted["result"])
    assert workspace.published.name == plan.fingerprint[:8]
    assert verify(plan, workspace) == ()
    assert is_sound(audit(plan, workspace, tiles=1, seed=0))
    assert carry_out(plan).verdict == wanted["verdict"]


def test_of_two_generations_the_whole_one_is_read_until_the_other_is(stored: Any) -> None:
    plan, workspace = stored("store_generations")
    wanted = EXPECTED["stores"]["store_generations"]
    check_result(plan.target, wanted["result"])
    assert workspace.published.name != workspace.staging.name == plan.fingerprint[:8]
    standing = standing_of(plan, workspace)
    assert standing == {key: wanted["run"][key] for key in standing}
    carry_out(plan)
    check_result(plan.target, wanted["wanted"]["result"])
    assert workspace.published.name == plan.fingerprint[:8]
    assert verify(plan, workspace) == ()


@pytest.mark.slow
def test_an_archive_of_0_1_goes_on(tmp_path: Path) -> None:
    """One night of the present version over its books: what is open is done, what is done is left as it is.

    Slow: every scan of it is planned and restored.
    """
    from tasks.nights import steps as of
    from tasks.nights.accounts import close_night

    folder = unpacked("archive", tmp_path)
    archive = read_archive(folder / "ARCHIVE.yaml")
    night = of.open_night.fn(archive, None)
    before = {item.scan.target: item.todo for item in night.items}
    done = [target for target, todo in before.items() if todo == "done" and Path(target).exists()]
    files = {target: files_of(Path(target), folder) for target in done}
    for number, item in enumerate(night.work):
        entry = of.begun(night, item)
        try:
            plan, rung = of.plan_scan.fn(night, item, night.work[number + 1 :], 1)
            entry = of.planned(night, item, rung, plan)
            report = carry_out(plan, overwrite=of.may_replace(item, plan))
            night.books.end(entry, "refused" if report.verdict == "fail" else "done", verdict=report.verdict)
        except of.NotTonight:
            of.put_off(night, item)
    close_night.fn(night)
    again = agenda(archive, discover(archive)[0], night.books)
    assert {item.todo for item in again} <= {"done", "quarantine"}, [(item.todo, item.why) for item in again]
    assert "resume" in before.values()
    assert files == {target: files_of(Path(target), folder) for target in done}
    assert len(night.books.nights()) == EXPECTED["archive"]["nights"] + 1
    fields = [set(json.loads(path.read_text())) for path in (folder / "books" / "scans").iterdir()]
    assert all(each == ENTRY_OF_0_1 for each in fields), "version 0.1 takes an entry with other fields for none"
    assert set(night.books.night(night.books.nights()[-1])) >= NIGHT_OF_0_1


#: What version 0.1 writes into its books, and wants to find there: no less in a night, no more in an entry.
ENTRY_OF_0_1 = {
    "source", "target", "instrument", "standing", "stamp", "policy", "night", "replaces", "tries", "why", "todo",
    "drift", "degraded", "outcome",
}  # fmt: skip
NIGHT_OF_0_1 = {"night", "archive", "run", "seconds", "scans", "counts", "trouble", "done", "not_done"}


def test_the_fields_are_those_of_0_1(tmp_path: Path) -> None:
    folder = unpacked("archive", tmp_path)
    assert all(set(json.loads(path.read_text())) == ENTRY_OF_0_1 for path in (folder / "books" / "scans").iterdir())
    assert all(
        set(json.loads(path.read_text())) >= NIGHT_OF_0_1 for path in (folder / "books" / "nights").glob("*.json")
    )


def test_books_of_a_later_version_are_read_but_for_what_is_new_in_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a rollback: entries with more fields, a standing that nobody here knows, a night that says more."""
    folder = unpacked("archive", tmp_path)
    archive = read_archive(folder / "ARCHIVE.yaml")
    books = Books.of(archive.books)
    before = {item.scan.source: item.todo for item in agenda(archive, discover(archive)[0], books)}
    for place in (folder / "books" / "scans").iterdir():
        told = json.loads(place.read_text()) | {"mood": "fine", "weather": 3}
        if told["standing"] == "begun":
            told["standing"] = "sleeping"
        place.write_text(json.dumps(told))
    name = books.nights()[-1]
    (folder / "books" / "nights" / f"{name}.json").write_text(json.dumps(books.night(name) | {"mood": "fine"}))
    after = {item.scan.source: item.todo for item in agenda(archive, discover(archive)[0], books)}
    assert {"resume": "retry"}.get(before[next(s for s in before if "dying" in s)]) == "retry"
    assert after == {source: "retry" if "dying" in source else todo for source, todo in before.items()}
    assert "later version" in caplog.text
    assert "mood, weather" in caplog.text
    assert books.night(name)["scans"]


def test_a_plan_of_a_later_version_is_refused_in_a_sentence_that_says_so(plans: Path) -> None:
    text = next(plans.glob("*.yaml")).read_text() + "surprise: 1\n"
    with pytest.raises(ILError, match=r"surprise: not known here; if a later version of ilcore made the plan"):
        RestorationPlan.from_yaml(text)


def test_a_run_of_today_says_nothing_that_version_0_1_would_trip_over(tmp_path: Path) -> None:
    """Rolled back, version 0.1 finds plan, record and ledger of a published result as it wrote them itself."""
    folder = unpacked("killed_at_tiles", tmp_path)
    plan, workspace = run_in(folder)
    told = set(plan.model_dump(mode="json"))
    carry_out(plan)
    assert set(workspace.plan_of_run().model_dump(mode="json")) == told
    record = json.loads(workspace.record.read_text())
    assert {"fingerprint", "verdict", "findings", "published", "versions"} <= set(record)
    assert all(set(each) == {"check", "verdict", "measured", "allowed", "why"} for each in record["findings"])
