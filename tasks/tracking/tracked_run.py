"""The MLflow run of one restoration: begun before the first tile, closed however it ends."""

import contextlib
import datetime
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from ilcore.grammar.errors import ILError
from ilcore.qa.verdict import QAReport
from ilcore.restoring.plan import RestorationPlan
from ilcore.restoring.volume_model import LearntModel
from ilcore.restoring.workspace import Workspace, give_back_locks
from ilcore.volumes.stores import Place
from tasks.journal import Journal, catch_up
from tasks.sheets import closing_sheet, curves_of, opening_sheet, volume_run
from tasks.tracking import tracking_uri

#: Runs of this process that have not ended, for the moment when it is told to stop.
_OPEN: list["Recording"] = []
#: Seconds that stopping waits for MLflow.
PATIENCE_SECONDS = 10


@dataclass(frozen=True)
class Recording:
    """One run, open for writing by the driver alone; MLflow being away costs it nothing."""

    journal: Journal
    plan: RestorationPlan

    @classmethod
    @contextmanager
    def of(
        cls, plan: RestorationPlan, given_uri: str | None, tags: Mapping[str, str], queue: Place | None = None
    ) -> Iterator["Recording"]:
        """Begin the run of a plan, or take up the one that a killed process left, and end it with the block.

        Args:
            plan: The plan.
            given_uri: MLflow's address, as `tasks.tracking.tracking_uri` understands it.
            tags: Put on the run.
            queue: Where records wait that MLflow does not take; beside the result if left out.
        """
        if queue is None:
            # Of a night it is the night's own, which sends what waits there when it begins and ends.
            queue = Workspace.of(plan.target).untracked
            catch_up(queue)
        journal = Journal(tracking_uri(plan.target, given_uri), queue)
        today = datetime.datetime.now(tz=datetime.UTC).date()
        journal.begin(volume_run(plan, today), opening_sheet(plan, tags))
        recording = cls(journal, plan)
        _OPEN.append(recording)
        try:
            yield recording
        except BaseException as error:
            journal.end("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        finally:
            _OPEN.remove(recording)
        journal.end("FINISHED")

    @property
    def page(self) -> str:
        """Return how to look at the run."""
        return self.journal.page

    def close(
        self, workspace: Workspace, report: QAReport, learnt: LearntModel, numbers: Mapping[str, float | None]
    ) -> None:
        """Write down how it ended."""
        curves = curves_of(self.plan, workspace, learnt)
        self.journal.note(closing_sheet(self.plan, workspace, report, curves, numbers))


def abandon() -> None:
    """Note that this process stops now, and end its workers; the runs are taken up again by `il resume`."""
    # In a thread: what was interrupted may hold a lock that MLflow needs, and must not keep us here.
    _within_patience(_note_killed)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    # Only now that nobody of ours writes any more.
    _within_patience(give_back_locks)


def _within_patience(work: Callable[[], None]) -> None:
    doing = threading.Thread(target=work, daemon=True)
    doing.start()
    doing.join(PATIENCE_SECONDS)


def _note_killed() -> None:
    for recording in _OPEN:
        with contextlib.suppress(ILError):
            recording.journal.end("KILLED")
