"""The table of runs on labelled images, class by class."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ilcore.benchmark.labelled import CLASSES
from ilcore.benchmark.labelled_runs import MUCH_WORSE, SHARE, WORSE, WORTHWHILE, Run, counts


def labelled_table(found: Sequence[Run], command: str) -> str:
    """Return the table as Markdown.

    Args:
        found: The runs, of any classes.
        command: What measures them again.
    """
    told = counts(found)
    head = (
        "| class | draws | chosen | verdicts | gain, dB: least, median | best candidate, median | passed, worse than "
        f"its input by {WORSE} dB | published, worse by {MUCH_WORSE} dB | gain of {WORTHWHILE} dB and more missed |"
    )
    lines = [f"    {command}", "", head, "|" + " --- |" * 9]
    lines += [_row(label, [run for run in found if run.label == label]) for label in CLASSES]
    whole = (
        f"In all {told['runs']} runs: {told['worse and passed']} passed though worse than their input, "
        f"{told['much worse and published']} were published though much worse; of {told['worthwhile']} in which a "
        f"candidate gains {WORTHWHILE} dB or more, {told['gain missed']} published less than {SHARE:.0%} of that."
    )
    return "\n".join([*lines, "", whole, ""])


def _row(label: str, found: Sequence[Run]) -> str:
    if not found:
        return f"| {label} | 0 | | | | | | | |"
    gains = [run.gain_db for run in found]
    methods, verdicts = (_counted([getattr(run, name) for run in found]) for name in ("method", "verdict"))
    told = counts(found)
    return (
        f"| {label} | {len(found)} | {methods} | {verdicts} | {min(gains):+.1f}, {np.median(gains):+.1f} "
        f"| {np.median([run.best_db for run in found]):+.1f} | {told['worse and passed']} "
        f"| {told['much worse and published']} | {told['gain missed']} of {told['worthwhile']} |"
    )


def _counted(words: Sequence[str]) -> str:
    return ", ".join(f"{word} {count}" for word, count in Counter(words).most_common())
