"""Whole runs on labelled images: measure what is missing, write the table."""

from dataclasses import dataclass
from pathlib import Path

from ilcore.benchmark.labelled import CLASSES
from ilcore.benchmark.labelled_runs import Run, runs
from ilcore.benchmark.labelled_table import labelled_table
from ilcore.benchmark.lines import Lines
from ilcore.benchmark.page import write_between
from ilcore.grammar.commands import command
from ilcore.grammar.errors import BadInput
from tasks.benchmark import BenchmarkConfig
from tasks.progress import Progress

#: The set, the page it has where none is named, and how many draws of each class there are to be.
LABELLED, PAGE, DRAWS = "labelled", "docs/labelled.md", 40


def is_labelled(event: BenchmarkConfig) -> bool:
    """Tell whether runs on labelled images are asked for.

    Raises:
        BadInput: Other sets, methods or folders are asked for as well.
    """
    if LABELLED not in event.sets:
        return False
    if event.sets != (LABELLED,) or event.methods or event.programs or event.images:
        raise BadInput(
            "set labelled shows what `il restore` does with no method named, so it stands alone; leave out other sets, "
            "--method, --external and --images"
        )
    unknown = [name for name in event.only if name not in CLASSES]
    if unknown:
        raise BadInput(f"--image of set labelled must be a class: {', '.join(CLASSES)}; got {', '.join(unknown)}")
    return True


@dataclass(frozen=True)
class LabelledEvent:
    """What is measured, and where it is written."""

    event: BenchmarkConfig

    @property
    def page(self) -> Path:
        """Return the page with the table."""
        return Path(PAGE if self.event.out == BenchmarkConfig.out else self.event.out)

    @property
    def file(self) -> Lines:
        """Return the file of runs."""
        return Lines(Path(self.event.scores) if self.event.scores else self.page.with_suffix(".jsonl"))

    def measured(self) -> list[Run]:
        """Carry out what is not in the file yet, write the table, and return all runs."""
        labels, draws = list(self.event.only), range(self.event.limit or DRAWS)
        found = []
        with Progress.of("labelled", len(draws) * len(labels or CLASSES), "images") as progress:
            for run in runs(labels, draws, self.file):
                found.append(run)
                progress.step(f"{run.label} {run.draw}: {run.method}, {run.verdict}, {run.gain_db:+.1f} dB")
        write_between(self.page, labelled_table(found, self._command()))
        return found

    def _command(self) -> str:
        words = ["il bench --set labelled", *([f"--limit {self.event.limit}"] if self.event.limit else [])]
        return " ".join(words + [command("--image", name) for name in self.event.only])
