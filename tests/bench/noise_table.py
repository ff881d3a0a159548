"""How well the noise is estimated: tables for docs/noise-estimates.md.

Run `python -m tests.bench.noise_table` from the root of the repository to write that file, with every image there is.
Test images are looked for in shared/data, in the root or beside it; without them generated scenes are measured.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from scipy import ndimage

from ilcore.degradations.blocks import smooth_block
from ilcore.degradations.estimate import preflight
from ilcore.degradations.levels import hh_mad, immerkaer, pca_level, smooth_half_mad, three_band_mad
from ilcore.degradations.signal_dependent import fit_poisson_gaussian
from tests.scenes import scene

ROOT = Path(__file__).parents[2]
COMMAND = "python -m tests.bench.noise_table"
SEED = 0

Picture = np.ndarray

#: Columns of the table of levels; each returns one number for one image.
ESTIMATORS: dict[str, Callable[[Picture], float]] = {
    "HH-MAD (db4)": hh_mad,
    "3-band MAD": three_band_mad,
    "Immerkaer": immerkaer,
    "PCA": pca_level,
    "smooth-half MAD": smooth_half_mad,
    "smooth-block": lambda image: block_std(image),
    "preflight": lambda image: report_of(image).level,
}
#: Estimators whose median is quoted: a few images without any smooth block pull their mean.
BY_MEDIAN = ("smooth-block", "preflight")
#: (standard deviation in grey levels, blur of the noise in pixels)
CASES = ((5, 0.0), (10, 0.0), (25, 0.0), (50, 0.0), (10, 0.7), (25, 0.5), (25, 0.7), (25, 1.0))
GAINS = (0.002, 0.01, 0.05, 0.1)


@dataclass(frozen=True)
class Row:
    """One noise level on all images."""

    std: float
    blur: float
    levels: dict[str, np.ndarray]
    verdicts: tuple[str, ...]
    lags: np.ndarray

    def middle(self, name: str) -> float:
        """Return what the table quotes: mean, or median for some."""
        values = self.levels[name]
        return float(np.median(values) if name in BY_MEDIAN else values.mean())


@dataclass(frozen=True)
class RealRow:
    """One real exposure against the mean of many."""

    name: str
    true_std: float
    std: float
    chi: float
    true_lag: float
    lag: float
    verdict: str
    confidence: float


def shared(*parts: str) -> Path | None:
    """Return a folder of the shared test data, or None where it is not."""
    for base in (ROOT, ROOT.parent):
        folder = base.joinpath("shared", "data", *parts)
        if folder.is_dir():
            return folder
    return None


def photographs(every: int = 1) -> list[Picture]:
    """Return grey photographs with values 0 to 255, none where the shared data is missing."""
    files = [
        file for name in ("set12", "bsd68") if (folder := shared("natural", name)) for file in folder.glob("*.png")
    ]
    return [np.asarray(Image.open(file).convert("L"), np.float64) for file in sorted(files)[::every]]


def generated(count: int = 10) -> list[Picture]:
    """Return generated scenes with values 0 to 255."""
    kinds = ("cells", "filaments", "coast", "stars", "edges")
    return [255.0 * scene(kinds[n % 5], (256, 256), n).astype(np.float64) for n in range(count)]


def level_rows(images: Sequence[Picture], cases: Sequence[tuple[float, float]] = CASES) -> list[Row]:
    """Measure every estimator on every image under every noise."""
    return [_level_row(images, std, blur) for std, blur in cases]


def _level_row(images: Sequence[Picture], std: float, blur: float) -> Row:
    noisy = [image + std * grain(image.shape, blur, n) for n, image in enumerate(images)]
    reports = [report_of(image) for image in noisy]
    return Row(
        std=std,
        blur=blur,
        levels={name: np.array([estimate(image) for image in noisy]) for name, estimate in ESTIMATORS.items()},
        verdicts=tuple(report.verdict for report in reports),
        lags=np.array([(report.lag_y + report.lag_x) / 2 for report in reports]),
    )


def grain(shape: tuple[int, ...], blur: float, seed: int) -> Picture:
    """Return normal noise of unit variance, blurred by a Gaussian of that width."""
    white = np.random.default_rng([SEED, seed]).normal(size=shape)
    field = ndimage.gaussian_filter(white, blur) if blur else white
    return field / field.std()


def block_std(image: Picture) -> float:
    found = smooth_block(image)
    assert found is not None
    return found.std


def report_of(image: Picture):
    return preflight([image[None]], np.float64).channels[0]


def gain_rows(images: Sequence[Picture]) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Return gain, fitted gain over true gain, fitted over true std at the mean, for counts on photographs."""
    rows = []
    for gain in GAINS:
        fits = [_gain_fit(image / 255, gain, n) for n, image in enumerate(images)]
        rows.append((gain, np.array([fit[0] for fit in fits]), np.array([fit[1] for fit in fits])))
    return rows


def _gain_fit(clean: Picture, gain: float, seed: int) -> tuple[float, float]:
    counts = np.random.default_rng([SEED, seed]).poisson(clean / gain)
    found = fit_poisson_gaussian(gain * counts)
    return found.gain / gain, found.std_at(clean.mean()) / np.sqrt(gain * clean.mean())


def real_rows() -> list[RealRow]:
    """Measure every real exposure that has a mean of many to compare with."""
    return [_real_row(name, noisy, clean) for name, noisy, clean in exposures()]


def exposures() -> Iterator[tuple[str, Picture, Picture]]:
    """Yield name, one exposure, and the mean of many on its scale; nothing where the shared data is missing."""
    if folder := shared("microscopy", "fmd"):
        for file in sorted((folder / "raw").glob("*.png")):
            clean = np.asarray(Image.open(folder / "gt" / f"{file.stem[:-2]}.png"), np.float64)
            yield f"fmd {file.stem}", np.asarray(Image.open(file)), clean
    if folder := shared("microscopy", "w2s"):
        for file in sorted((folder / "avg1").glob("*.tif")):
            noisy, many = tifffile.imread(file), tifffile.imread(folder / "avg400" / file.name).astype(np.float64)
            yield f"w2s {file.stem}", noisy, _on_scale(many, noisy)


def _on_scale(many: Picture, noisy: Picture) -> Picture:
    slope, offset = np.polyfit(many.ravel(), noisy.ravel().astype(np.float64), 1)
    return slope * many + offset


def _real_row(name: str, noisy: Picture, clean: Picture) -> RealRow:
    report, error = preflight([noisy[None]], noisy.dtype).channels[0], noisy - clean
    variance = report.noise.variance(clean)
    centred = error - error.mean()
    return RealRow(
        name=name,
        true_std=float(error.std()),
        std=float(np.sqrt(variance.mean())),
        chi=float((error**2 / variance).mean()),
        true_lag=float((centred[:, 1:] * centred[:, :-1]).mean() / centred.var()),
        lag=report.lag_x,
        verdict=report.verdict,
        confidence=report.confidence,
    )


def level_table(rows: Sequence[Row]) -> str:
    """Render levels: mean (spread), or the median."""
    head = ["true std", *ESTIMATORS, "white", "lag 1"]
    lines = []
    for row in rows:
        cells = [f"{row.std:g}" + (f", blurred {row.blur:g} px" if row.blur else ", white")]
        for name, values in row.levels.items():
            note = " median" if name in BY_MEDIAN else f" ({values.std():.1f})"
            cells.append(f"{row.middle(name):.1f}{note}")
        white = np.mean([verdict == "white" for verdict in row.verdicts])
        lines.append([*cells, f"{white:.0%}", f"{np.median(row.lags):.2f}"])
    return _markdown(head, lines)


def gain_table(rows: Sequence[tuple[float, np.ndarray, np.ndarray]]) -> str:
    """Render gain fits: 10, 50, 90 % quantiles."""
    lines = [[f"{gain:g}", _quantiles(gains), _quantiles(stds)] for gain, gains, stds in rows]
    return _markdown(["gain", "fitted / true gain", "fitted / true std at the mean"], lines)


def real_table(rows: Sequence[RealRow]) -> str:
    """Render real exposures."""
    head = ["exposure", "true std", "estimated std", "mean of error² / variance", "lag in x, true", "estimated",
            "verdict", "confidence"]  # fmt: skip
    lines = [
        [row.name, f"{row.true_std:.1f}", f"{row.std:.1f}", f"{row.chi:.2f}", f"{row.true_lag:.2f}", f"{row.lag:.2f}",
         row.verdict, f"{row.confidence:.2f}"]
        for row in rows
    ]  # fmt: skip
    return _markdown(head, lines)


def _quantiles(values: np.ndarray) -> str:
    return " / ".join(f"{value:.2f}" for value in np.quantile(values, (0.1, 0.5, 0.9)))


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *lines])


def document(images: Sequence[Picture], source: str, real: Sequence[RealRow]) -> str:
    """Return the whole page."""
    parts = [
        "# Noise estimates",
        f"Written by `{COMMAND}`; noise from `numpy.random.default_rng([{SEED}, image])`. Images: {source}.",
        "## Level of Gaussian noise, grey levels of 0 to 255",
        "Mean (spread) over the images, or the median. `preflight` is what a plan uses; `white` is the share of images "
        "it calls white; `lag 1` the median correlation of neighbours it reports (true: 0.26, 0.58, 0.78 for noise "
        "blurred by 0.5, 0.7, 1 px). High-pass estimators miss most of blurred noise.",
        level_table(level_rows(images)),
        "## Counts: noise that grows with the signal",
        "Poisson counts on the images scaled to 0..1; quantiles 10 / 50 / 90 % over the images.",
        gain_table(gain_rows(images)),
    ]
    if real:
        parts += [
            "## Real exposures against the mean of many",
            "8-bit grey levels. `mean of error² / variance` is 1 for a perfect noise model; the mean of many exposures "
            "is itself noisy (50 in fmd, 400 in w2s) and drifts a little, which adds to the true std and the true lag.",
            real_table(real),
        ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write docs/noise-estimates.md."""
    photos = photographs()
    source = f"{len(photos)} grey photographs (Set12, BSD68)" if photos else "10 generated scenes"
    target = ROOT / "docs" / "noise-estimates.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(document(photos or generated(), source, real_rows()))
    print(target.read_text())


if __name__ == "__main__":
    main()
