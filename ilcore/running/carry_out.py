"""Carry out a run: the stages in their order, for whoever does the work and whoever looks on.

    prepare ─> adapt ─> optimise ─> assemble ─> judge ─> coarsen ─> record ─> publish

Every stage does only what is missing, so that a run which was killed at any moment is taken up by calling this again.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TypeVar

from ilcore.grammar.devices import kind_of
from ilcore.planning.plan import RestorationPlan
from ilcore.qa.verdict import QAReport
from ilcore.running import stages
from ilcore.running.executor import Executor, Local
from ilcore.running.null_test import make_null_test
from ilcore.running.numbers import curves_of, numbers_of
from ilcore.running.observer import Observer
from ilcore.running.record import note_device, read_findings, write_record
from ilcore.running.report import write_qa_maps, write_report
from ilcore.running.run import Run
from ilcore.running.stopwatch import Stopwatch
from ilcore.running.tally import Tally
from ilcore.running.tile import restore_unit
from ilcore.running.volume_model import LearntModel, learn_volume_model

Answer = TypeVar("Answer")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Args:
        report: The findings and their verdict; with fail nothing was published.
        learnt: The model of the whole volume, where the plan wants one.
        numbers: What sums the run up.
    """

    report: QAReport
    learnt: LearntModel
    numbers: Mapping[str, float | None]


def carry_out(
    plan: RestorationPlan, *, device: str = "cpu", overwrite: bool = False, executor: Executor | None = None
) -> QAReport:
    """Restore, judge and, unless the verdict is fail, publish; here, or by another executor.

    Args:
        plan: What to do.
        device: cpu or cuda, where it is done here.
        overwrite: Whether an earlier result may be replaced.
        executor: What does the work instead of this process.

    Raises:
        ILError: When input, disk or another run is in the way.
    """
    run = Run.of(plan)
    with run.workspace.locked():
        if stages.prepare(run, overwrite=overwrite).is_published:
            return read_findings(run.workspace)
        return carry_on(run, executor or Local(device), Observer()).report


def carry_on(run: Run, executor: Executor, observer: Observer) -> Ended:
    """Go through the stages of a run that is prepared and whose lock the caller holds."""
    return _Sitting(run, executor, observer).all_stages()


@dataclass(frozen=True)
class _Sitting:
    """One process at work on a run, until its end or its own."""

    run: Run
    executor: Executor
    observer: Observer
    watch: Stopwatch = field(default_factory=Stopwatch)

    def all_stages(self) -> Ended:
        learnt = self._stage("adapt", self.adapt)
        tally = self._stage("optimise", self.optimise)
        self._stage("assemble", self.assemble)
        report = self._stage("judge", self.judge)
        if report.verdict != "fail":
            self._stage("coarsen", self.coarsen)
        ended = Ended(report, learnt, numbers_of(self.run, tally, self.watch))
        self._stage("record", partial(self.record, ended))
        if report.verdict != "fail":
            self._stage("publish", self.publish)
        return ended

    def _stage(self, name: str, work: Callable[[], Answer]) -> Answer:
        with self.watch.stage(name):
            return self.observer.stage(name, work)

    def adapt(self) -> LearntModel:
        """Learn one model of the whole volume, where the plan wants one."""
        # On a worker even when it runs here: the driver stays small, and no GPU context is made in it.
        with self.observer.counting("adapt", 1, "models") as counter:
            learnt = self.executor.once(partial(learn_volume_model, self.run))
            counter.step(learnt.reason)
        return learnt

    def optimise(self) -> Tally:
        """Restore every tile that is still to be done. A unit commits itself: a lost worker costs those it held."""
        status, tally = self.run.ledger.read("status"), Tally()
        todo = self.run.ledger.open_places(status)
        if todo:
            note_device(self.run.workspace, self.executor.once(kind_of), len(todo))
        done = int((status != 0).sum())
        with self.observer.counting("optimise", len(self.run.grid), "tiles", already=done) as counter:
            for report in self._held(self.executor.compute(partial(restore_unit, self.run), todo)):
                tally = tally.plus(report)
                counter.step(tally.words, by=report.tiles)
        return tally

    def assemble(self) -> None:
        """Blend the restored tiles into the result, each write unit by one writer alone."""
        todo = self.run.ledger.open_blocks()
        with self.observer.counting("assemble", len(todo), "blocks") as counter, self.run.ledger.book() as book:
            for report in self._held(self.executor.move(partial(stages.assemble_block, self.run), todo)):
                book.add(report)
                counter.step()

    def judge(self) -> QAReport:
        """Measure the seams of every tile, make the null test, and return all findings with their verdict."""
        grid = self.run.grid
        with self.observer.counting("judge", math.prod(grid.unit_shape), "units") as counter:
            for _ in self.executor.move(partial(stages.measure_seams, self.run), grid.units()):
                counter.step()
        self.executor.once(partial(make_null_test, self.run))
        return stages.verdict_of(self.run)

    def coarsen(self) -> None:
        """Write the coarser levels, each once the one below it is complete; those of an earlier attempt anew."""
        for rung in stages.coarser_levels(self.run, self.run.workspace.staging):
            count = rung.create()
            with self.observer.counting(f"coarsen {rung.level.path}", count, "blocks") as counter:
                for _ in self.executor.move(rung.write, range(count)):
                    counter.step()

    def record(self, ended: Ended) -> None:
        """Write QA maps, report, record, and the root metadata of a result that may be published."""
        write_qa_maps(self.run)
        write_report(self.run, ended.report, curves_of(self.run, ended.learnt), ended.numbers)
        if ended.report.verdict != "fail":
            stages.complete(self.run, ended.report)
        more = {"numbers": dict(ended.numbers), "model": asdict(ended.learnt)}
        write_record(self.run, ended.report, more)

    def publish(self) -> None:
        """Put a result that passed in its place."""
        stages.publish_result(self.run)

    def _held(self, reports: Iterable[Item]) -> Iterator[Item]:
        """Go on only as long as the lock is held."""
        for report in reports:
            self.run.workspace.check_lock()
            yield report
