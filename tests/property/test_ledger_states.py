"""A run as a machine of states: units and blocks in any order, writers that die before any of their writes, damage.

The model knows which units and blocks must be done, and which may be. What must hold at every moment: what is told to
be done was written, and nothing that was done is lost but by damage.
"""

import shutil
import tempfile

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ilcore.grammar.errors import CorruptData
from ilcore.grammar.region import slices
from ilcore.planning.plan import RestorationPlan
from ilcore.running import ledger as ledgers
from ilcore.running.mending import units_touching
from ilcore.running.run import Run
from ilcore.running.stages import assemble_block, prepare
from ilcore.running.tile import restore_unit
from tests.dying import WatchedFolder
from tests.standins import add_standins, planned, saved

#: Three write units of one frame each, each of them three tiles in two units of work.
VALUES = np.random.default_rng(0).normal(100, 10, (3, 8, 40)).astype(np.float32)
UNITS, BLOCKS = range(6), range(3)
#: A unit is written in four or five steps, preparing in some more.
MOMENTS = st.integers(0, 7)
DISK = WatchedFolder()


class RunUnderWay(RuleBasedStateMachine):
    plan: RestorationPlan

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="il-states-")
        self.run = Run.of(self.plan.model_copy(update={"target": f"{self.folder}/out.ome.zarr"}))
        self.units = list(self.run.grid.units())
        #: Indices of units that are done, and of those whose bytes lie in scratch as they were written.
        self.done, self.written, self.assembled = set[int](), set[int](), set[int]()
        self.prepare(None)
        DISK.folder = self.folder

    def teardown(self) -> None:
        DISK.folder = ""
        self.check_bytes()
        shutil.rmtree(self.folder)

    @rule(moment=st.none() | MOMENTS)
    def prepare(self, moment):
        """Begin or go on, in another process."""
        self.run = self.run.anew()
        was_there = self.parts()
        with DISK.before(moment), self.run.workspace.locked():
            prepare(self.run)
        if all(was_there) or not self.run.workspace.ledger.exists():
            return
        # What was lost is to be done again, or was noted already before the kill.
        self.assembled &= self.told_blocks()
        if self.is_whole():
            assert was_there[1] or not self.assembled
            assert was_there[0] or self.needed().isdisjoint(self.told() - self.written)
        assert self.done - self.needed() <= self.told()
        self.done &= self.told()

    def needed(self) -> set[int]:
        """Return the units without which what is not assembled cannot be."""
        regions = [((n, n + 1), (0, 1), (0, 1), (0, 8), (0, 40)) for n in set(BLOCKS) - self.assembled]
        places = [unit.index for unit in self.units]
        return {places.index(place) for place in units_touching(self.run.grid, regions)}

    def parts(self) -> list[bool]:
        """Return whether scratch and the result in the making are there."""
        return [
            (part / "zarr.json").exists() for part in (self.run.workspace.scratch, self.run.workspace.staging / "0")
        ]

    def is_whole(self) -> bool:
        return all(self.parts())

    def told(self) -> set[int]:
        """Return the units that the ledger tells to be done, as whoever comes next reads it."""
        is_open = self.run.anew().ledger.open_places()
        return {number for number, unit in enumerate(self.units) if unit.index not in is_open}

    def told_blocks(self) -> set[int]:
        return set(BLOCKS) - set(self.run.anew().ledger.open_blocks())

    def restore_whole(self, number: int) -> None:
        restore_unit(self.run, self.units[number].index)
        self.done.add(number)
        self.written.add(number)

    @precondition(is_whole)
    @rule(number=st.sampled_from(UNITS), moment=st.none() | MOMENTS)
    def restore(self, number, moment):
        """Restore a unit, perhaps once more; a worker that dies commits nothing."""
        with DISK.before(moment):
            self.restore_whole(number)

    @precondition(is_whole)
    @rule(number=st.sampled_from(UNITS), other=st.sampled_from(UNITS), moment=MOMENTS)
    def restore_two(self, number, other, moment):
        """Restore a unit while another writer restores one of its own."""
        with DISK.before(moment, lambda: self.restore_whole(other if other != number else (other + 1) % len(UNITS))):
            self.restore_whole(number)

    @precondition(is_whole)
    @rule(numbers=st.lists(st.sampled_from(BLOCKS), unique=True, min_size=1), moment=st.none() | MOMENTS)
    def assemble(self, numbers, moment):
        """Restore the rest and assemble some blocks; what the driver had gathered when it died is assembled again."""
        for number in sorted(set(UNITS) - self.done):
            self.restore_whole(number)
        finished = set[int]()
        with DISK.before(moment), self.run.ledger.book() as book:
            for number in numbers:
                try:
                    book.add(assemble_block(self.run, number))
                    finished.add(number)
                except CorruptData:
                    assert not self.done <= self.written
        told = self.told_blocks()
        assert self.assembled <= told <= self.assembled | finished
        assert finished <= told or moment is not None
        reopened = self.done - self.told()
        assert reopened.isdisjoint(self.written), "only what is not there any more is to be done again"
        self.done -= reopened
        self.assembled = told

    @precondition(lambda self: self.done)
    @rule(data=st.data(), array=st.sampled_from(["ledger.zarr/tiles", "scratch.zarr"]), at=st.integers(0, 999))
    def damage(self, data, array, at):
        """Let a byte of a unit's record, or of one of its tiles, be another."""
        number = data.draw(st.sampled_from(sorted(self.done)))
        unit = self.units[number]
        t, z, y, x = unit.index if "tiles" in array else unit.tiles[0].index
        tail = f"{t}/{z}/{y}/{x}/0" if "tiles" in array else f"{t}/0/{z}/{y}/{x}"
        chunk = self.run.workspace.root / array / "c" / tail
        if not chunk.exists():
            return
        content = bytearray(chunk.read_bytes())
        content[at % len(content)] ^= 1
        chunk.write_bytes(content)
        (self.done if "tiles" in array else self.written).discard(number)

    @precondition(lambda self: self.assembled)
    @rule(data=st.data())
    def damage_blocks(self, data):
        """Let records of the driver be cut; both of a chunk are lost."""
        chunk = data.draw(st.sampled_from(sorted(self.assembled))) // 2
        (self.run.workspace.ledger / "blocks" / "c" / str(chunk) / "0").write_bytes(b"")
        self.assembled -= {2 * chunk, 2 * chunk + 1}

    @precondition(lambda self: self.done and self.is_whole())
    @rule(part=st.sampled_from(["scratch", "staging"]))
    def lose(self, part):
        """Let all restored tiles, or the result in the making, be gone."""
        shutil.rmtree(getattr(self.run.workspace, part))
        if part == "scratch":
            self.written.clear()

    @invariant()
    def what_is_done_is_told_and_nothing_else(self):
        if self.run.workspace.ledger.exists():
            assert self.told() == self.done
            assert self.told_blocks() == self.assembled

    def check_bytes(self):
        if not self.is_whole():
            return
        ledger, scratch, result = self.run.ledger, self.run.anew().scratch, self.run.result
        for number in sorted(self.done & self.written):
            for tile in self.units[number].tiles:
                kept = scratch.read(tile, ledger.digest_of(tile))
                np.testing.assert_array_equal(kept, VALUES[:, None, None][slices(tile.keep)])
        for number in sorted(self.assembled):
            region = result.block(number)
            np.testing.assert_array_equal(result.read(region), VALUES[:, None, None][slices(region)])


def test_whatever_dies_or_is_damaged_the_ledger_tells_what_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr(ledgers, "BLOCKS", 2)
    monkeypatch.setattr(ledgers, "GATHERED", 2)
    add_standins(monkeypatch)
    plan = planned(saved(tmp_path, VALUES), tmp_path / "out.ome.zarr", "unchanged", axes="tyx", tile=(1, 8, 16))
    plan = plan.model_copy(update={"grid": plan.grid.model_copy(update={"unit": (1, 1, 2)})})
    monkeypatch.setattr(RunUnderWay, "plan", plan, raising=False)
    DISK.watch(monkeypatch)
    run_state_machine_as_test(RunUnderWay, settings=settings(max_examples=8, stateful_step_count=20, deadline=None))
