"""The MLflow run of one restoration: begun before the first tile, closed however it ends."""

import contextlib
import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ilcore.grammar.errors import ILError
from ilcore.planning.plan import RestorationPlan
from ilcore.qa.verdict import QAReport
from ilcore.running.volume_model import LearntModel
from ilcore.running.workspace import Workspace
from ilcore.stores.places import Place
from tasks.executors.shutdown import at_last
from tasks.tracking.client import tracking_uri
from tasks.tracking.journal import Journal, catch_up
from tasks.tracking.run_payload import closing_sheet, curves_of, opening_sheet, volume_run

#: Runs of this process that have not ended, for the moment when it is told to stop.
_OPEN: list["Recording"] = []


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
            given_uri: MLflow's address, as `tasks.tracking.client.tracking_uri` understands it.
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
        at_last(_note_killed)
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


def _note_killed() -> None:
    for recording in _OPEN:
        with contextlib.suppress(ILError):
            recording.journal.end("KILLED")
