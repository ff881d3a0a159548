"""The books of an archive as a machine of states: nights that end well or die before any of their writes.

The model counts what a scan itself did wrong since it, or what is wished of it, last changed: nights on which it failed
or the run died at it without getting further. That alone puts a scan aside.
"""

import errno
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ilcore.archives import job_queue as queues
from ilcore.archives.discover import discover
from ilcore.archives.job_queue import QUARANTINE, job_queue
from ilcore.archives.lease import leased, read_lease
from ilcore.archives.policy import Archive, NightPolicy, SourcePolicy
from ilcore.archives.scan_registry import ScanRegistry
from ilcore.grammar.errors import BadVolume, Busy, DivergedError, StoreError, WorkerDied
from ilcore.running.workspace import Workspace
from tasks.executors.shutdown import OutOfTime
from tasks.nights.accounts import close_night, look_back
from tasks.nights.steps import begun, ended, open_night, put_off
from tasks.outcome import Outcome
from tests.dying import WatchedFolder

DISK = WatchedFolder()
NAMES, TRIES = ("a", "b"), 2
#: How far the run for a target has come, as its ledger would tell.
HEADWAY: dict[str, int] = {}

#: How a scan may end, by whose doing it is.
PUBLISHED, LESS, REFUSED = "published", "published with less", "refused"
NOT_TONIGHT, DIED_FURTHER_ON = "not tonight", "died further on"
SURROUNDINGS = [StoreError("away"), OSError(errno.ENOSPC, "full")]
OWN = [DivergedError("nan")]
STOPPED, BAD, DEAD_WORKER = OutOfTime("over"), BadVolume("garbage"), WorkerDied("no memory")
ENDS = st.sampled_from(
    [PUBLISHED, LESS, REFUSED, NOT_TONIGHT, DIED_FURTHER_ON, *SURROUNDINGS, *OWN, STOPPED, BAD, DEAD_WORKER]
)


@dataclass
class Known:
    """What is known of one scan.

    Args:
        content: Of the file; None while it is away. `seen` is the one that it was last begun with.
        faults: Its own since it last changed. With `is_bad` it can never be read.
        is_over: Nothing is left to do: published, or refused.
        has_result: There is one of ours; it `is_old` where it is of an earlier state, or was made with fewer steps.
    """

    content: str | None = None
    seen: str = ""
    faults: int = 0
    is_bad: bool = False
    is_over: bool = False
    has_result: bool = False
    is_old: bool = False

    @property
    def is_given_up(self) -> bool:
        return self.is_bad or self.faults >= TRIES

    @property
    def is_work(self) -> bool:
        return self.content != self.seen or not (self.is_over or self.is_given_up)


class Archived(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        HEADWAY.clear()
        self.folder = Path(tempfile.mkdtemp(prefix="il-states-"))
        self.scans, self.wish, self.night_number = {name: Known() for name in NAMES}, 0, 0
        for name in ("scans", "out"):
            # A folder that is empty seems to be one of a disk that is not mounted.
            (self.folder / name).mkdir()
            (self.folder / name / "readme").write_text("")
        self.books = ScanRegistry.of(str(self.folder / "books"))
        self.change("a", "1")
        DISK.folder = str(self.folder)

    def teardown(self) -> None:
        DISK.folder = ""
        shutil.rmtree(self.folder)

    @property
    def archive(self) -> Archive:
        source = SourcePolicy(
            find=f"{self.folder}/scans/*.npy", target=f"{self.folder}/out/{{stem}}.ome.zarr", settle_minutes=0,
            restore={"noise_std": float(self.wish + 1)},
        )  # fmt: skip
        return Archive(name="try", books=str(self.folder / "books"), sources=(source,), night=NightPolicy(tries=TRIES))

    def target(self, name: str) -> Path:
        return self.folder / "out" / f"{name}.ome.zarr"

    @rule(name=st.sampled_from(NAMES), content=st.sampled_from(["1", "22"]))
    def change(self, name, content):
        """Let a scan be there, for the first time, again as it was, or changed."""
        (self.folder / "scans" / f"{name}.npy").write_text(content)
        # Its date tells of its content.
        os.utime(self.folder / "scans" / f"{name}.npy", (len(content), len(content)))
        self.scans[name].content = f"{content} {self.wish}"

    @rule(name=st.sampled_from(NAMES))
    def vanish(self, name):
        (self.folder / "scans" / f"{name}.npy").unlink(missing_ok=True)
        self.scans[name].content = None

    @rule()
    def wish_otherwise(self):
        self.wish += 1
        for scan in self.scans.values():
            scan.content = scan.content and f"{scan.content.split()[0]} {self.wish}"

    @rule()
    def release(self):
        self.books.release()
        for scan in self.scans.values():
            scan.faults, scan.is_bad = 0, False

    @precondition(lambda self: any(scan.has_result for scan in self.scans.values()))
    @rule(data=st.data())
    def lose_result(self, data):
        name = data.draw(st.sampled_from([name for name, scan in self.scans.items() if scan.has_result]))
        shutil.rmtree(self.target(name))
        scan = self.scans[name]
        scan.has_result = scan.is_old = False
        if scan.is_over and self.books.standing("done") and self.standing(name) == "done":
            scan.is_over = False

    def standing(self, name: str) -> str:
        return next((each.standing for each in self.books.all() if Path(each.source).stem == name), "")

    @rule(ends=st.lists(ENDS, max_size=4), moment=st.none() | st.integers(0, 12))
    def night(self, ends, moment):
        """Work on what is to be done, and again on what the surroundings spoiled; or die before one of the writes."""
        self.night_number += 1
        name, books, has_begun = f"night {self.night_number:03}", Workspace.of(f"{self.folder}/books/night"), False
        with books.locked(), DISK.before(moment):
            with pytest.raises(Busy), books.locked():
                pass
            with leased(self.books.running, {"night": name}, lambda: None) as left:
                has_begun = True
                night = open_night.fn(self.archive, None, name)
                look_back(night, left)
                for _ in range(2):
                    for item in night.left:
                        if not ends:
                            break
                        self.one(night, item, ends.pop())
                close_night.fn(night)
        if has_begun and read_lease(self.books.running) is None:
            assert name in self.books.nights(), "a night that ended without a word leaves its lease"

    def one(self, night, item, end):
        scan = self.scans[Path(item.scan.source).stem]
        earlier = [each for each in night.done if each.source == item.scan.source]
        assert all(each.is_spoilt for each in earlier), "what came to an end is not begun again the same night"
        entry = begun(night, item)
        if scan.content != scan.seen:
            scan.faults, scan.is_bad, scan.is_over, scan.is_old = 0, False, False, scan.has_result
            scan.seen = scan.content
        scan.is_over = False
        # Should the run die now, that is a fault of the scan, until it comes further than before.
        scan.faults += 1
        if end is DIED_FURTHER_ON:
            HEADWAY[item.scan.target] = HEADWAY.get(item.scan.target, 0) + 1
            scan.faults -= 1
            DISK.die()
        elif end is NOT_TONIGHT and item.before is not None:
            put_off(night, item)
            scan.faults -= 1
        else:
            self.end(night, scan, entry, STOPPED if end is NOT_TONIGHT else end)

    def end(self, night, scan, entry, end):
        has_restored = night.has_restored
        if end in (PUBLISHED, LESS):
            publish(Path(entry.target))
            scan.has_result, scan.is_old = True, False
        if isinstance(end, str):
            entry = replace(entry, degraded="5 of 20 steps" if end is LESS else "")
            outcome = Outcome(target=entry.target, verdict="fail" if end is REFUSED else "pass", report="r")
            ended(night, entry, outcome)
            scan.faults, scan.is_over = 0, end is not LESS
            scan.is_old |= end is LESS
            return
        ended(night, entry, end)
        if end in SURROUNDINGS or (end is DEAD_WORKER and not has_restored):
            scan.faults -= 1
        elif end is STOPPED:
            scan.faults = 0
        scan.is_bad = end is BAD

    def jobs(self):
        found, trouble = discover(self.archive)
        assert not trouble
        return {Path(item.scan.source).stem: item for item in job_queue(self.archive, found, self.books)}

    @invariant()
    def no_scan_is_forgotten_nor_tried_for_ever(self):
        jobs = self.jobs()
        assert set(jobs) == {name for name, scan in self.scans.items() if scan.content is not None}
        for name, item in jobs.items():
            scan = self.scans[name]
            assert item.is_work == scan.is_work, (name, item, scan)
            assert (item.todo == QUARANTINE) == (scan.content == scan.seen and not scan.is_over and scan.is_given_up)
            if item.is_work and scan.has_result and scan.is_old and scan.content == scan.seen:
                assert item.replaces, "a result of ours from before may still be replaced"

    @invariant()
    def every_scan_stands_in_the_books_once(self):
        stems = [Path(entry.source).stem for entry in self.books.all()]
        assert stems == sorted({name for name, scan in self.scans.items() if scan.seen})
        for name, entry in zip(stems, self.books.all(), strict=True):
            if entry.standing in ("paused", "failed"):
                assert entry.tries == self.scans[name].faults, "tries are used up by faults of the scan alone"


def publish(target: Path) -> None:
    target.mkdir(exist_ok=True)
    about = {"zarr_format": 3, "node_type": "group", "attributes": {"ilcore": {"fingerprint": "of its plan"}}}
    (target / "zarr.json").write_text(json.dumps(about))


def test_whatever_happens_at_night_no_scan_is_forgotten_and_only_its_own_faults_count(monkeypatch):
    monkeypatch.setattr(queues, "headway", lambda target: HEADWAY.get(target, 0))
    DISK.watch(monkeypatch)
    run_state_machine_as_test(Archived, settings=settings(max_examples=200, stateful_step_count=20, deadline=None))
