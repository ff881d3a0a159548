"""Scores as Markdown: one table of methods and sets, one of costs, and every image in the appendix."""

import os
import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ilcore.benchmark.contenders import CHOOSE, NOISY
from ilcore.benchmark.page import grid, processor
from ilcore.benchmark.runs import Settings
from ilcore.benchmark.score import Score

_NOTES = """
PSNR in dB with peak 1 on the result clipped to [0, 1]; SSIM is `ilcore.qa.truth.ssim` (Wang et al. 2004, Gaussian
window of 1.5 px). Means over the images of a set; (5/7) where a method refused or failed on some. Nothing is selected
with the truth. *risk / error* is the median of the mean squared error that a method itself estimates over the true
one; *below input* counts images on which a result is worse than the noisy image. Best of a set in bold.
""".strip()


@dataclass(frozen=True)
class Cell:
    """One method on one set."""

    psnr: float
    ssim: float
    done: int
    asked: int

    @property
    def is_complete(self) -> bool:
        """Tell whether no image is missing."""
        return self.done == self.asked


def cells(scores: Iterable[Score]) -> dict[tuple[str, str], Cell]:
    """Return (method, set) -> means; pairs without any result are left out."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.method, score.set), []).append(score)
    return {pair: cell for pair, group in groups.items() if (cell := _cell(group)) is not None}


def measured(scores: Iterable[Score]) -> dict[str, dict[str, str]]:
    """Return method -> set -> words for its card, from scores in the published setting only."""
    found: dict[str, dict[str, str]] = {}
    for (name, where), cell in cells(score for score in scores if not score.setting).items():
        method, _, scope = name.partition("@")
        if ":" not in name:
            place = f"{where} (one model per {scope})" if scope else where
            missing = "" if cell.is_complete else f" on {cell.done} of {cell.asked}"
            found.setdefault(method, {})[place] = f"{cell.psnr:.2f} dB / {cell.ssim:.3f}{missing}"
    return found


def markdown(scores: Sequence[Score], settings: Settings, command: str) -> str:
    """Return everything that belongs between the markers.

    Args:
        scores: In the order in which methods and sets shall stand.
        settings: Of the benchmark.
        command: What makes this table again.
    """
    parts = [
        header(settings, command), _NOTES, "### Quality", quality(scores), "### Cost and honesty", costs(scores),
        *_against_best(scores), "### Refusals and accidents", refusals(scores), "### Every image (PSNR, dB)",
        *(f"{name}\n\n{appendix([s for s in scores if s.set == name])}" for name in _unique(s.set for s in scores)),
    ]  # fmt: skip
    return "\n\n".join(parts)


def header(settings: Settings, command: str) -> str:
    """Return where and how the numbers were made."""
    told = "told the level of white noise" if settings.is_told else "told nothing about the noise"
    facts = {
        "machine": f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}, {platform.system()}",
        "seed": f"{settings.seed} for methods; noise is default_rng(position of the file)",
        "steps": "each method's own"
        if settings.steps is None
        else f"{settings.steps} at most (not the published number)",
        "images": "whole" if settings.crop is None else f"{settings.crop} pixels from the middle",
        "methods are": told,
    }
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    return "\n".join([*lines, "", f"    {command}"])


def quality(scores: Sequence[Score]) -> str:
    """Return methods by sets, PSNR / SSIM."""
    found, sets = cells(scores), _unique(score.set for score in scores)
    best = {
        name: max((cell.psnr for (_, one), cell in found.items() if one == name and cell.is_complete), default=np.inf)
        for name in sets
    }
    rows = [
        [method, *(_shown(found.get((method, name)), best[name]) for name in sets)]
        for method in _unique(score.method for score in scores)
    ]
    return grid(["method", *sets], rows)


def costs(scores: Sequence[Score]) -> str:
    """Return risk, time, memory and endings of every method."""
    inputs = {(score.set, score.image): score.psnr for score in scores if score.method == NOISY}
    rows = []
    for method in _unique(score.method for score in scores):
        own = [score for score in scores if score.method == method and score.psnr is not None]
        ratios = [score.risk / score.mse for score in own if score.risk is not None and score.mse]
        rows.append([
            method,
            _number(_median(ratios), ".2f"),
            _number(_median([score.seconds_per_megapixel for score in own]), ".3g"),
            _number(max((score.peak_memory_mb or 0 for score in own), default=None), ".0f"),
            _below(own, inputs),
            _endings(own),
        ])  # fmt: skip
    return grid(["method", "risk / error", "s / Mpx", "peak MB", "below input", "how it ended"], rows)


def refusals(scores: Sequence[Score]) -> str:
    """Return why there are no results where there are none."""
    reasons = Counter((score.method, _cut(score.refused, 200)) for score in scores if score.refused is not None)
    rows = [[method, str(count), reason] for (method, reason), count in reasons.items()]
    return grid(["method", "images", "reason"], rows) if rows else "None."


def appendix(scores: Sequence[Score]) -> str:
    """Return the PSNR of every image of one set."""
    images, held = _unique(score.image for score in scores), {(s.method, s.image): s.psnr for s in scores}
    rows = [
        [method, *(_number(held.get((method, image)), ".2f") for image in images)]
        for method in _unique(score.method for score in scores)
    ]
    return grid(["method", *images], rows)


def _against_best(scores: Sequence[Score]) -> list[str]:
    """Return how far the default choice is from the best method of every image, where both were measured."""
    best: dict[tuple[str, str], float] = {}
    for score in scores:
        if score.psnr is not None:
            place = (score.set, score.image)
            best[place] = max(best.get(place, -np.inf), score.psnr)
    chosen = {(s.set, s.image): s.psnr for s in scores if s.method == CHOOSE and s.psnr is not None}
    if not chosen:
        return []
    rows = []
    for name in _unique(place[0] for place in chosen):
        gaps = [best[place] - psnr for place, psnr in chosen.items() if place[0] == name]
        rows.append([name, f"{np.mean(gaps):.2f}", f"{np.max(gaps):.2f}"])
    table = grid(["set", "mean dB below the best method of each image", "largest"], rows)
    return ["### The default choice against the best of each image", table]


def _cell(group: Sequence[Score]) -> Cell | None:
    done = [score for score in group if score.psnr is not None and score.ssim is not None]
    if not done:
        return None
    means = [float(np.mean([getattr(score, name) for score in done])) for name in ("psnr", "ssim")]
    return Cell(means[0], means[1], len(done), len(group))


def _shown(cell: Cell | None, best: float) -> str:
    if cell is None:
        return "-"
    told = f"{cell.psnr:.2f} / {cell.ssim:.3f}"
    if not cell.is_complete:
        return f"{told} ({cell.done}/{cell.asked})"
    return f"**{told}**" if cell.psnr >= best else told


def _below(own: Sequence[Score], inputs: Mapping[tuple[str, str], float | None]) -> str:
    pairs = [(score.psnr, inputs.get((score.set, score.image))) for score in own]
    known = [(psnr, before) for psnr, before in pairs if psnr is not None and before is not None]
    return f"{sum(psnr < before - 1e-6 for psnr, before in known)}/{len(known)}" if known else "-"


def _endings(own: Sequence[Score]) -> str:
    # Numbers of steps differ from image to image; the kind of ending is what counts here.
    kinds = Counter(re.sub(r"\d+(\.\d+)?", "n", score.stop_reason or "-") for score in own)
    return "; ".join(f"{_cut(kind, 80)} ({count})" for kind, count in kinds.most_common(2)) or "-"


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _cut(text: str | None, length: int) -> str:
    one_line = " ".join((text or "").split())
    return one_line if len(one_line) <= length else one_line[: length - 3] + "..."


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
