"""Run one method on one image as users run it, and measure what came out."""

import os
import resource
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from subprocess import STDOUT, Popen
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.benchmark.contenders import CHOOSE, NOISY, Contender
from ilcore.benchmark.images import BenchmarkImage, Case
from ilcore.benchmark.score import Score, key_of
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput, ILError
from ilcore.grammar.region import whole
from ilcore.methods.catalogue import METHODS, find
from ilcore.methods.entry import Scalar
from ilcore.planning.make import plan_restoration
from ilcore.planning.plan import RestorationPlan
from ilcore.qa.truth import affine_fit, psnr, ssim
from ilcore.running.arrays import restore
from ilcore.running.carry_out import carry_out
from ilcore.running.run import Run
from ilcore.running.volume_model import learnt_before

Image = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is the same for all; two scores compare only where these are equal.

    Args:
        seed: Of the methods; the noise has its own.
        steps: Updates of methods that make some, instead of their own number.
        crop: Side of a cut from the middle of every image.
        is_told: Whether methods are told the level of white noise that was added, as published tables do it.
    """

    seed: int = 0
    steps: int | None = None
    crop: int | None = None
    is_told: bool = True

    def difference(self) -> str:
        """Return in words what differs from the published setting; nothing where nothing does."""
        words = [
            f"{self.steps} steps" if self.steps is not None else "",
            f"crop {self.crop}" if self.crop is not None else "",
            f"seed {self.seed}" if self.seed else "",
            "" if self.is_told else "noise estimated",
        ]
        return ", ".join(filter(None, words))


@dataclass(frozen=True)
class Outcome:
    """What a contender gave back; risk in units where the truth has peak 1."""

    image: Image
    steps: int | None = None
    stopped: str | None = None
    risk: float | None = None
    peak_memory_mb: float | None = None


def blank_score(contender: Contender, picture: BenchmarkImage, settings: Settings) -> Score:
    """Return a score that holds what was asked and nothing else."""
    # A recipe whose settings were changed is another one, and measured anew.
    recipe = repr(METHODS[contender.method].method) if contender.method in METHODS else ""
    asked = {
        "contender": asdict(contender), "recipe": recipe, "settings": asdict(settings), "picture": picture.identity(),
    }  # fmt: skip
    key, setting = key_of(asked), settings.difference()
    return Score(key=key, method=contender.name, set=picture.set, image=picture.name, setting=setting)


def measure(contender: Contender, picture: BenchmarkImage, settings: Settings) -> Score:
    """Restore one image and measure the result; a refusal or an accident is a score too."""
    blank = blank_score(contender, picture, settings)
    try:
        case = picture.load(settings.crop)
        case = case if settings.is_told else replace(case, noise_std=None)
        _forget_peak()
        began = time.perf_counter()
        outcome = _outcome(contender, case, picture.space, settings)
        seconds = time.perf_counter() - began
        return _scored(blank, outcome, case, picture, seconds)
    except ILError as error:
        return replace(blank, refused=str(error), is_final=isinstance(error, BadInput))
    except Exception as error:
        # Nothing that one method does may end the benchmark; the row says it, and the next call tries again.
        return replace(blank, refused=f"{type(error).__name__}: {error}", is_final=False)


def _scored(blank: Score, outcome: Outcome, case: Case, picture: BenchmarkImage, seconds: float) -> Score:
    image = outcome.image
    if image.shape != case.truth.shape or not np.isfinite(image).all():
        raise BadInput(
            f"a result must be finite and have shape {case.truth.shape}, got {image.shape}; it is not measured"
        )
    fitted = affine_fit(image, case.truth) if picture.is_fitted else image
    shown = np.clip(fitted, 0, 1)
    return replace(
        blank,
        psnr=psnr(case.truth, shown, peak=1.0),
        ssim=_ssim(case.truth, shown, picture.space),
        risk=outcome.risk,
        mse=None if picture.is_fitted else float(np.mean(np.square(image.astype(np.float64) - case.truth))),
        seconds_per_megapixel=seconds / (image.size / 1e6),
        peak_memory_mb=outcome.peak_memory_mb or _peak_mb(),
        steps=outcome.steps,
        stop_reason=outcome.stopped,
    )


def _ssim(truth: Image, image: Image, space: int) -> float:
    shape = truth.shape[-space:] if min(truth.shape[-space:]) >= 11 else truth.shape[-2:]
    pairs = zip(truth.reshape(-1, *shape), image.reshape(-1, *shape), strict=True)
    return float(np.mean([ssim(one, two, peak=1.0) for one, two in pairs]))


def _outcome(contender: Contender, case: Case, space: int, settings: Settings) -> Outcome:
    if contender.command:
        return _of_program(contender, case)
    if contender.method == NOISY:
        return Outcome(case.noisy, 0, "untouched")
    if contender.method == CHOOSE or contender.scope == "volume":
        return _of_plan(contender, case, space, settings)
    return _of_arrays(contender, case, space, settings)


def _of_arrays(contender: Contender, case: Case, space: int, settings: Settings) -> Outcome:
    knobs = _overrides(contender, settings)
    done = restore(case.noisy, contender.method, case.noise_std, settings.seed, space=space, overrides=knobs)
    risk = done.risk[0] if done.risk else None
    in_these_units = None if risk is None else risk * _span(case.noisy, space) ** 2
    return Outcome(np.asarray(done.image), done.steps[0], str(done.stopped[0]), in_these_units)


def _overrides(contender: Contender, settings: Settings) -> dict[str, Scalar]:
    own = dict(contender.overrides)
    if settings.steps is None or not find(contender.method).method.budget or {"steps", "stop.steps"} & set(own):
        return own
    return {"steps": settings.steps, **own}


def _span(noisy: Image, space: int) -> float:
    """Return the range by which `restore` divides, so that its risk can be told in our units."""
    channels = noisy.reshape(-1, *noisy.shape[-space:])
    spans = [np.subtract(*np.percentile(channel, (99.9, 0.1))) for channel in channels]
    return float(np.sqrt(np.mean(np.square(spans))))


def _of_plan(contender: Contender, case: Case, space: int, settings: Settings) -> Outcome:
    """Return what `il restore` makes of the acquisition: the image and its companions as one source."""
    with TemporaryDirectory(prefix="il-bench-") as folder:
        source, target = Path(folder) / "noisy.npy", Path(folder) / "restored.ome.zarr"
        stack = np.stack([case.noisy, *case.companions]) if case.companions else case.noisy
        np.save(source, stack)
        plan = _planned(contender, case, settings, str(source), str(target), _axes(case, space))
        verdict, run = carry_out(plan).verdict, Run.of(plan)
        # What the QA gate refused is measured all the same, and called refused.
        place = target if target.exists() else run.workspace.staging / "0"
        volume = open_volume(str(place))
        image = volume.read(whole(volume.shape))[0].reshape(case.noisy.shape)
        return _told(run, image, verdict)


def _axes(case: Case, space: int) -> str:
    own = "zyx" if space == 3 else "yx" if case.noisy.ndim == 2 else "cyx"
    return f"t{own}" if case.companions else own


def _planned(
    contender: Contender, case: Case, settings: Settings, source: str, target: str, axes: str
) -> RestorationPlan:
    common = {"seed": settings.seed, "axes": axes, "noise_std": case.noise_std}
    if contender.method != CHOOSE:
        knobs = _overrides(contender, settings)
        return plan_restoration(
            source, target, method=contender.method, scope=contender.scope, overrides=knobs, **common
        )  # fmt: skip
    plan = plan_restoration(source, target, overrides=dict(contender.overrides), **common)
    if settings.steps is None or "stop.steps" in plan.overrides or not plan.entry.method.budget:
        return plan
    fewer = {"stop.steps": settings.steps, **plan.overrides}
    return plan_restoration(source, target, method=plan.method, scope=plan.scope, overrides=fewer, **common)


def _told(run: Run, image: Image, verdict: str) -> Outcome:
    learnt = learnt_before(run.workspace)
    rows = list(run.ledger.rows())
    used = ", ".join(f"{name} {count}" for name, count in sorted(Counter(row["used"] for row in rows).items()))
    steps = learnt.steps if learnt else max((int(row["steps"] or 0) for row in rows), default=0)
    reason = learnt.reason if learnt else "tile by tile"
    span = float(np.sqrt(np.mean([(channel.high - channel.low) ** 2 for channel in run.plan.channels])))
    risk = None if learnt is None or learnt.risk is None else learnt.risk * span**2
    return Outcome(image, steps, f"{run.plan.method}, {run.plan.scope}: {reason}; tiles: {used}; {verdict}", risk)


def _of_program(contender: Contender, case: Case) -> Outcome:
    """Return what somebody else's program makes of the noisy file; it may live in an environment of its own."""
    with TemporaryDirectory(prefix="il-bench-") as folder:
        noisy, restored = Path(folder) / "noisy.npy", Path(folder) / "restored.npy"
        np.save(noisy, case.noisy)
        # An unknown level is told as nan, so that the program can estimate it.
        level = float("nan") if case.noise_std is None else case.noise_std
        places = {"{noisy}": str(noisy), "{restored}": str(restored), "{noise_std}": f"{level:.8g}"}
        words = [_filled(word, places) for word in contender.command]
        code, last, peak = _run(words, Path(folder) / "said.txt")
        if code or not restored.exists():
            raise ILError(f"{contender.name} must write {restored.name}, it ended with {code}: {last}")
        return Outcome(np.load(restored, allow_pickle=False), None, "program", None, peak)


def _filled(word: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        word = word.replace(name, value)
    return word


def _run(words: list[str], log: Path) -> tuple[int, str, float]:
    """Return exit code, the last line said, and the peak memory of that process in MB, no less than ours."""
    try:
        with log.open("wb") as said:
            process = Popen(words, stdout=said, stderr=STDOUT)
    except OSError as error:
        raise BadInput(f"a program must be there and runnable, got {words[0]!r}: {error}") from error
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = log.read_text(errors="replace").strip().splitlines()
    return process.returncode, lines[-1] if lines else "no message", used.ru_maxrss / _PER_MB


#: Linux counts in kB, macOS in bytes.
_PER_MB = 2**20 if sys.platform == "darwin" else 2**10


def _forget_peak() -> None:
    """Let the kernel forget the peak so far, where it can: else the peak of the process since its start is told."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_mb() -> float:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    high = next((line for line in lines if line.startswith("VmHWM")), None)
    if high is not None:
        return int(high.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _PER_MB
