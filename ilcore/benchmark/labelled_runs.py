"""What a whole run makes of a labelled image: chosen, restored, judged and published as by `il restore`."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ilcore.adapting.weights import SHIPPED
from ilcore.aims.choosing import CANDIDATES
from ilcore.benchmark.labelled import CLASSES, Labelled, labelled
from ilcore.benchmark.lines import Lines
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import whole
from ilcore.planning.make import plan_restoration
from ilcore.planning.plan import RestorationPlan
from ilcore.planning.probing import Trial, problems_of
from ilcore.planning.striping import destriped
from ilcore.running.carry_out import carry_out

#: Hours of one core for an image: enough for every candidate, too little to fine-tune weights on it.
HOURS = 0.015
#: A result that is worse than its input by more than the first must not pass, by more than the second not be published.
WORSE, MUCH_WORSE = 0.1, 0.5
#: A gain that must be had, and the share of it.
WORTHWHILE, SHARE = 0.5, 0.8


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run on one labelled image.

    Args:
        label: Class of the image.
        draw: Its number in the class.
        method: What was chosen; `refused` where nothing was planned.
        verdict: pass, warn or fail; pass where the image was refused with a sentence.
        gain_db: Of what was published over the input; 0 where nothing was.
        best_db: Of the best candidate, tried on the whole image.
        why: Why the method was chosen, or the image refused.
        flagged: Checks that did not pass.
    """

    label: str
    draw: int
    method: str
    verdict: str
    gain_db: float
    best_db: float
    why: str
    flagged: tuple[str, ...] = ()

    @property
    def passes_worse(self) -> bool:
        """Tell whether a result that is worse than its input has passed."""
        return self.verdict == "pass" and self.gain_db < -WORSE

    @property
    def publishes_worse(self) -> bool:
        """Tell whether a result that is much worse than its input was published."""
        return self.gain_db < -MUCH_WORSE

    @property
    def misses_gain(self) -> bool:
        """Tell whether too little was published of a gain that could be had."""
        return self.best_db >= WORTHWHILE and self.gain_db < SHARE * self.best_db


def run_of(label: str, draw: int) -> Run:
    """Carry out one run, in a folder of its own that is gone afterwards."""
    image = labelled(label, draw)
    with tempfile.TemporaryDirectory(prefix="il-labelled-") as folder:
        source, target = str(Path(folder, "image.npy")), str(Path(folder, "out.ome.zarr"))
        np.save(source, image.seen)
        try:
            plan = plan_restoration(source, target, hours=HOURS)
        except BadVolume as refusal:
            return _kept(image, "refused", str(refusal))
        if plan.task == "copy":
            return _kept(image, plan.method, plan.why, best=_best(image, plan))
        report = carry_out(plan)
        made = _made(plan)
        gain = image.psnr(made) - image.psnr(image.seen) if made is not None else 0.0
    flagged = tuple(finding.check for finding in report.findings if finding.verdict != "pass")
    return Run(
        label=label, draw=draw, method=plan.method, verdict=report.verdict, gain_db=gain,
        best_db=max(_best(image, plan), gain), why=plan.why, flagged=flagged,
    )  # fmt: skip


def runs(labels: Sequence[str], draws: Iterable[int], file: Lines | None = None) -> Iterator[Run]:
    """Yield the runs on draws of classes; those that a file holds are read from it, the others added."""
    held = {
        (each["label"], each["draw"]): Run(**each | {"flagged": tuple(each["flagged"])})
        for each in (file.read() if file else ())
    }
    for draw in draws:
        for label in labels or CLASSES:
            found = held.get((label, draw)) or run_of(label, draw)
            if file and (label, draw) not in held:
                file.add(asdict(found))
            yield found


def _kept(image: Labelled, method: str, why: str, best: float = 0.0) -> Run:
    return Run(
        label=image.label, draw=image.draw, method=method, verdict="pass", gain_db=0.0,
        best_db=max(best, 0.0), why=why,
    )  # fmt: skip


def _made(plan: RestorationPlan) -> np.ndarray | None:
    if not Path(plan.target).exists():
        return None
    volume = open_volume(plan.target)
    return volume.read(whole(volume.shape))[0, 0, 0]


def _best(image: Labelled, plan: RestorationPlan) -> float:
    """Return the gain of the best candidate on the whole image, told noise and stripes of the plan."""
    before = image.psnr(image.seen)
    gains = []
    (sample,) = destriped([image.seen[None, None].astype(np.float64)], plan.stripes)
    for problem in problems_of([sample], plan.channels, 2, is_whole=True):
        for candidate in CANDIDATES.values():
            restored = Trial(candidate, SHIPPED, 0).restored(problem)[0, 0].double().numpy()
            channel = plan.channels[0]
            values = channel.low + restored * (channel.high - channel.low)
            if image.seen.dtype.kind in "ui":
                values = np.clip(np.rint(values), 0, np.iinfo(image.seen.dtype).max)
            gains.append(image.psnr(values) - before)
    return max((gain for gain in gains if np.isfinite(gain)), default=0.0)


def counts(found: Sequence[Run]) -> Mapping[str, int]:
    """Return how many runs there are, and how many break each rule."""
    return {
        "runs": len(found),
        "worse and passed": sum(run.passes_worse for run in found),
        "much worse and published": sum(run.publishes_worse for run in found),
        "worthwhile": sum(run.best_db >= WORTHWHILE for run in found),
        "gain missed": sum(run.misses_gain for run in found),
    }
