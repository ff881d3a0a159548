"""How often the bound on the error is true: the table of docs/bounds.md.

    python -m tests.bench.coverage --draws 500            every law, every restorer, so many draws each law
    python -m tests.bench.coverage --photographs DIR      the same on photographs, which hold fine texture
    python -m tests.bench.coverage --runs 120             whole runs of 25 tiles, which are probed in windows

A draw is a scene, a noise and a restorer; the level of the noise is told, or measured by preflight on that very image.
Right is that the true error is at most the bound in 95 % of the draws that get one.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ilcore import fit
from ilcore.adapting.weights import SHIPPED, load_denoiser
from ilcore.degradations.estimate import preflight
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import find
from ilcore.methods.entry import configure
from ilcore.planning.make import plan_restoration
from ilcore.qa.bounds import COLUMNS, Bound, Circumstances, bound_of
from ilcore.qa.erring import Law, error_sums, flat_sums, moved, slope_of
from ilcore.running.bounding import bound_of_run
from ilcore.running.local import carry_out
from ilcore.running.workspace import Workspace
from tests.scenes import blurred, scene
from tests.standins import assembled

Values = NDArray[np.float32]
Restorer = Callable[[Values, tuple[Noise, ...]], Values]

SIDE, SCENES = 192, ("cells", "filaments", "coast", "stars", "edges", "constant")
#: Noise of scenes whose range is 1, and how wide it is blurred.
LAWS: dict[str, tuple[Noise, float]] = {
    "white, 10 %": (Noise(read_std=0.1), 0.0),
    "white, 3 %": (Noise(read_std=0.03), 0.0),
    "counts, 50 at most": (Noise(gain=0.02), 0.0),
    "counts and read noise": (Noise(gain=0.01, read_std=0.03), 0.0),
    "correlated": (Noise(read_std=0.1), 0.7),
}
_PLACE = [(0,)]


@dataclass(frozen=True)
class Draw:
    """One image, its true error, and its bound."""

    restorer: str
    error: float
    bound: Bound

    @property
    def holds(self) -> bool:
        assert self.bound.error is not None
        return self.error <= self.bound.error.most


def gaussian(seen: Values, noise: tuple[Noise, ...]) -> Values:
    return np.asarray(ndimage.gaussian_filter(seen, (0, 0, 0.8, 0.8)), np.float32)


def by_name(name: str, **knobs: bool) -> Restorer:
    """Return a method of the catalogue that needs no weights."""
    method = configure(find(name), knobs).method

    def restore(seen: Values, noise: tuple[Noise, ...]) -> Values:
        return fit.restore(method, _problem(seen, noise), Streams.of(0, name, _PLACE)).image[0].numpy()[:, None]

    return restore


def pretrained() -> Restorer:
    """Return the model that ships, as it is."""
    network, weights = load_denoiser(SHIPPED)
    method = configure(find("adapted").with_network(network), {"steps": 0}).method

    def restore(seen: Values, noise: tuple[Noise, ...]) -> Values:
        return fit.predict(method, _problem(seen, noise), weights, Streams.of(0, "adapted", _PLACE))[0].numpy()[:, None]

    return restore


def _problem(seen: Values, noise: tuple[Noise, ...]) -> Problem:
    return Problem(observed=torch.from_numpy(seen[None, :, 0]), noise=noise, value_range=(-0.2, 1.2))


RESTORERS: dict[str, Callable[[], Restorer]] = {
    "Gaussian filter": lambda: gaussian,
    "nlm": lambda: by_name("nlm"),
    "nlm, stabilised": lambda: by_name("nlm", stabilise=True),
    "pretrained": pretrained,
}


def generated(count: int, side: int = SIDE) -> Iterator[tuple[int, Values]]:
    """Yield number and clean image, another scene each time."""
    for number, kind in islice(enumerate(cycle(SCENES)), count):
        yield number, scene(kind, (side, side), number)


def photographs(folder: Path, count: int) -> Iterator[tuple[int, Values]]:
    """Yield number and middle of grey photographs, again and again."""
    files = sorted(folder.rglob("*.png"))
    for number, file in islice(enumerate(cycle(files)), count):
        image = np.asarray(Image.open(file).convert("L"), np.float32) / 255
        top, left = ((length - min(length, 256)) // 2 for length in image.shape)
        yield number, image[top : top + 256, left : left + 256]


def drawn(
    name: str, images: Iterator[tuple[int, Values]], restorers: dict[str, Restorer], *, told: bool
) -> Iterator[Draw]:
    """Yield the draws of one noise law, the restorers in turn."""
    law, blur = LAWS[name]
    kinds = list(restorers)
    for number, clean in images:
        # Every restorer sees every kind of scene.
        kind = kinds[number // len(SCENES) % len(kinds)]
        yield _draw(kind, restorers[kind], clean, observed_of(clean, law, blur, number), law if told else None, number)


def observed_of(clean: Values, law: Noise, blur: float, seed: int) -> Values:
    """Return one exposure; the power of its noise is as random as the noise itself."""
    rng = np.random.default_rng([seed, 31])
    image = clean.astype(np.float64)
    if law.gain:
        image = law.gain * rng.poisson(np.maximum(image - law.offset, 0) / law.gain) + law.offset
    grain = rng.standard_normal(clean.shape)
    if blur:
        power = blurred(np.eye(1, clean.size).reshape(clean.shape), blur)
        grain = blurred(grain, blur) / np.sqrt(np.sum(power**2))
    return np.asarray(image + law.read_std * grain, np.float32)


def _draw(kind: str, restore: Restorer, clean: Values, observed: Values, law: Noise | None, seed: int) -> Draw:
    found = preflight([observed[None]], np.float32).channels[0]
    noise = (found.noise if law is None else replace(law, correlation=found.verdict),)
    seen, trusted = observed[None, None], np.ones((1, 1, *observed.shape), bool)
    image = restore(seen, noise)
    told = law is not None
    about = Circumstances(
        is_told=told, is_white=found.verdict == "white" or (told and found.verdict == "unknown"),
        confidence=1.0 if told else found.confidence, counts=noise[0].gain,
    )  # fmt: skip
    table = _columns(seen, image, noise, trusted, lambda other: restore(other, noise), seed)
    error = float(np.mean((image.astype(np.float64) - clean) ** 2))
    return Draw(kind, error, bound_of(table, about, raw=np.zeros((), bool)))


def _columns(
    seen: Values, image: Values, noise: tuple[Noise, ...], counted: NDArray[np.bool_],
    again: Callable[[Values], Values], seed: int,
) -> dict[str, NDArray[np.float64]]:  # fmt: skip
    law = Law.of(seen, noise)
    signs = Streams.of(seed, "coverage", _PLACE).signs(seen.shape)[0].numpy()
    slope = slope_of(image, again(moved(seen, law, signs)), law, signs, counted)
    found = error_sums(seen, image, noise, counted, [slope]) | flat_sums(seen, counted, noise) | {"cut_share": 0.0}
    return {name: np.asarray(found[name]) for name in COLUMNS}


def through_runs(name: str, count: int, *, told: bool) -> Iterator[Draw]:
    """Yield draws that are whole runs, of so many tiles that they are probed in windows."""
    (law, blur), method = LAWS[name], "wavelet"
    for number, clean in generated(count, 640):
        with TemporaryDirectory() as folder:
            source, target = Path(folder, "scan.npy"), str(Path(folder, "out.ome.zarr"))
            np.save(source, observed_of(clean, law, blur, number))
            plan = plan_restoration(
                str(source), target, method=method, scope="tile", tile=(1, 128, 128),
                noise_std=law.read_std if told else None,
            )  # fmt: skip
            carry_out(plan)
            image = assembled(plan).squeeze()
            bound = bound_of_run(plan, Workspace.of(target))
        span = plan.channels[0].high - plan.channels[0].low
        yield Draw(method, float(np.mean((image - clean) ** 2)) / span**2, bound)


def table_row(name: str, draws: Sequence[Draw], *, told: bool) -> list[str]:
    """Return one line of the table."""
    bounded = [draw for draw in draws if draw.bound.error is not None]
    level = "told" if told else "measured"
    if not bounded:
        return [name, level, str(len(draws)), "0", "-", "-", f"no bound: {draws[0].bound.why_not}"]
    margin = np.median([10 * np.log10(draw.bound.error.most / draw.error) for draw in bounded if draw.bound.error])
    each = [f"{kind} {100 * np.mean([draw.holds for draw in bounded if draw.restorer == kind]):.0f}"
            for kind in dict.fromkeys(draw.restorer for draw in bounded)]  # fmt: skip
    share = np.mean([draw.holds for draw in bounded])
    return [
        name,
        level,
        str(len(draws)),
        str(len(bounded)),
        f"{100 * share:.1f} %",
        f"{margin:.2f} dB",
        ", ".join(each),
    ]


def main() -> None:
    """Print the table."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--draws", type=int, default=500, help="of each noise law")
    given.add_argument("--photographs", type=Path, help="folder of grey pictures, in the place of generated scenes")
    given.add_argument("--runs", type=int, help="whole runs of each noise law, in the place of single images")
    given.add_argument("--laws", nargs="*", default=list(LAWS), help="those alone")
    wished = given.parse_args()
    torch.set_num_threads(1)
    restorers = {name: make() for name, make in RESTORERS.items()}
    head = ["noise", "level", "draws", "with a bound", "bound holds", "bound above the error by", "by restorer, %"]
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|", flush=True)
    for name in wished.laws:
        for told in (True, False):
            if wished.runs:
                # A level that is told is one level.
                if not (told and LAWS[name][0].gain):
                    draws = list(through_runs(name, wished.runs, told=told))
                    print("| " + " | ".join(table_row(name, draws, told=told)) + " |", flush=True)
                continue
            few = max(8, wished.draws // 20) if name == "correlated" else wished.draws
            images = photographs(wished.photographs, few) if wished.photographs else generated(few)
            draws = list(drawn(name, images, restorers, told=told))
            print("| " + " | ".join(table_row(name, draws, told=told)) + " |", flush=True)


if __name__ == "__main__":
    main()
