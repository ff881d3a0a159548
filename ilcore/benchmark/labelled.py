"""Images of which it is known what must happen to them: what should be restored, what left alone, what told.

    class         what it is                                                    what is wanted
    photographs   photographs, white noise of 5 to 40 of 255                    restored
    textures      brick, grass and gravel, white noise of 4 to 12               never made worse
    checkerboards of 2 to 9 pixels, white noise of 4 to 20                      never made worse
    labels        numbers of regions                                            left alone
    masks         two values in areas                                           left alone, or refused
    clean         photographs as they are                                       left alone
    jpeg          photographs compressed with quality 20 to 75                  never made worse
    denoised      noisy photographs that were denoised before                   left alone
    stripes       photographs with stripes of columns, and white noise          never made worse
    borders       photographs with noise in a frame of zeros, 20 to 80 %        restored
    counts        generated scenes of 1 to 100 photons at the brightest         restored
    correlated    generated scenes, noise that neighbours share                 restored
    saturated     photographs with noise, 3 to 25 % at the upper limit          restored
    dots          faint points on a calm background, white noise                restored, lost points told
    lines         faint lines on a calm background, white noise                 restored, lost lines told

Pictures are those that scikit-image carries, and generated scenes. Draw n of a class is the same on every machine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data
from skimage.color import rgb2gray
from skimage.restoration import denoise_tv_chambolle

from ilcore.adapting.scenes import scene
from ilcore.grammar.errors import BadInput

Values = NDArray[np.float64]
#: Side of an image, in pixels.
SIDE = 192
#: Error of a copy, in grey levels: what rounding leaves.
_ROUNDING = 1 / 12
_PHOTOGRAPHS = ("astronaut", "camera", "cat", "coffee", "coins", "moon")
_TEXTURES = ("brick", "grass", "gravel")
#: First seed of the generated scenes, none of which a shipped model was trained on.
_FIRST = 910_000_000


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """An image of which the truth is known.

    Args:
        label: Its class.
        draw: Its number in the class.
        seen: What is to be restored, as a file would hold it, [y, x].
        truth: In the same units.
        places: Where faint things lie, [y, x] True there; all False where there are none.
        strength: Of the faint things, in noise std: the signal-to-noise ratio of a matched filter for dots, of a pixel
            for lines; 0 where there are none.
    """

    label: str
    draw: int
    seen: NDArray[Any]
    truth: Values
    places: NDArray[np.bool_]
    strength: float = 0.0

    def psnr(self, values: NDArray[Any]) -> float:
        """Return the peak signal-to-noise ratio of an image, dB; a copy of the truth has that of rounding."""
        error = float(((values.astype(np.float64) - self.truth) ** 2).mean())
        peak = float(np.ptp(self.truth)) or 1.0
        step = peak / 255
        return float(10 * np.log10(peak**2 / (error + _ROUNDING * step**2)))


def labelled(label: str, draw: int) -> Labelled:
    """Return one draw of a class.

    Raises:
        BadInput: There is no such class.
    """
    if label not in CLASSES:
        raise BadInput(f"a class must be one of {', '.join(CLASSES)}; got {label!r}")
    rng = np.random.default_rng((draw, sum(label.encode())))
    return CLASSES[label](label, draw, rng)


@lru_cache(maxsize=16)
def _picture(name: str) -> Values:
    """Return a picture of scikit-image in grey, of 255."""
    image = np.asarray(getattr(data, name)(), np.float64)
    return image if image.ndim == 2 else 255 * np.asarray(rgb2gray(image / 255), np.float64)


def _cut(image: Values, rng: np.random.Generator) -> Values:
    top, left = (int(rng.integers(0, length - SIDE + 1)) for length in image.shape)
    return image[top : top + SIDE, left : left + SIDE]


def _photograph(rng: np.random.Generator) -> Values:
    return _cut(_picture(_PHOTOGRAPHS[int(rng.integers(len(_PHOTOGRAPHS)))]), rng)


def _scene(number: int) -> Values:
    """Return a generated scene between 0 and 1."""
    values = scene(_FIRST + number, SIDE).astype(np.float64)
    return (values - values.min()) / max(float(np.ptp(values)), 1e-6)


def _bytes(values: Values) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _case(label: str, draw: int, seen: NDArray[Any], truth: Values) -> Labelled:
    return Labelled(label=label, draw=draw, seen=seen, truth=truth, places=np.zeros(truth.shape, bool))


def _photographs(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    truth = np.clip(_photograph(rng), 8, 247)
    return _case(label, draw, _bytes(truth + rng.normal(0, rng.uniform(5, 40), truth.shape)), truth)


def _textures(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    truth = _cut(_picture(_TEXTURES[draw % len(_TEXTURES)]), rng)
    return _case(label, draw, _bytes(truth + rng.normal(0, rng.uniform(4, 12), truth.shape)), truth)


def _checkerboards(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    period, contrast = 2 + draw % 8, rng.uniform(15, 120)
    y, x = np.indices((SIDE, SIDE)) + rng.integers(0, 9, 2)[:, None, None]
    truth = 128 + contrast * (((y // period + x // period) % 2) - 0.5)
    return _case(label, draw, _bytes(truth + rng.normal(0, rng.uniform(4, 20), truth.shape)), truth)


def _regions(rng: np.random.Generator, count: int) -> NDArray[np.intp]:
    seeds = rng.uniform(0, SIDE, (count, 2))
    y, x = np.indices((SIDE, SIDE))
    return np.asarray(((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2).argmin(-1))


def _labels(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    regions = _regions(rng, int(rng.integers(5, 120)))
    numbers = rng.permutation(int(regions.max()) + 1) * (regions % 3 > 0).max()
    truth = np.where(regions % 4 == 0, 0, numbers[regions]).astype(np.uint16)
    return _case(label, draw, truth, truth.astype(np.float64))


def _masks(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    field = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), rng.uniform(1.5, 9))
    truth = _bytes(255.0 * (field > np.quantile(field, rng.uniform(0.2, 0.9))))
    return _case(label, draw, truth, truth.astype(np.float64))


def _clean(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    truth = _bytes(_photograph(rng))
    return _case(label, draw, truth, truth.astype(np.float64))


def _jpeg(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    truth = _bytes(_photograph(rng))
    file = imagecodecs.jpeg8_encode(truth, level=int(rng.integers(20, 76)))
    return _case(label, draw, np.asarray(imagecodecs.jpeg8_decode(file)), truth.astype(np.float64))


def _denoised(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    truth, std = _photograph(rng), rng.uniform(5, 25)
    noisy = truth + rng.normal(0, std, truth.shape)
    if draw % 2:
        return _case(label, draw, _bytes(ndimage.gaussian_filter(noisy, rng.uniform(0.8, 1.6))), truth)
    return _case(label, draw, _bytes(denoise_tv_chambolle(noisy, weight=0.9 * std)), truth)


def _stripes(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    truth = _photograph(rng)
    stripes = rng.normal(0, rng.uniform(3, 12), (1, SIDE))
    return _case(label, draw, _bytes(truth + stripes + rng.normal(0, rng.uniform(3, 12), truth.shape)), truth)


def _borders(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    truth = np.clip(_photograph(rng), 8, 247)
    seen = _bytes(truth + rng.normal(0, rng.uniform(6, 25), truth.shape))
    inside = np.zeros(truth.shape, bool)
    height, width = (round(float(SIDE * np.sqrt(1 - rng.uniform(0.2, 0.8)))) for _ in "yx")
    top, left = (int(rng.integers(0, SIDE - length + 1)) for length in (height, width))
    inside[top : top + height, left : left + width] = True
    return _case(label, draw, np.where(inside, seen, 0).astype(np.uint8), np.where(inside, truth, 0.0))


def _counts(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    peak = 10 ** rng.uniform(0, 2)
    truth = peak * (0.03 + 0.97 * _scene(draw))
    return _case(label, draw, rng.poisson(truth).astype(np.uint16), truth)


def _correlated(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    truth = 8000 + 20000 * _scene(1000 + draw)
    noise = ndimage.gaussian_filter(rng.normal(size=truth.shape), rng.uniform(0.5, 1.5), mode="wrap")
    level = rng.uniform(500, 2500)
    return _case(label, draw, np.rint(truth + level * noise / noise.std()).astype(np.uint16), truth)


def _saturated(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    scaled = _photograph(rng)
    scaled = scaled * 255 / max(float(np.quantile(scaled, 1 - rng.uniform(0.03, 0.25))), 1.0)
    seen = _bytes(scaled + rng.normal(0, rng.uniform(5, 25), scaled.shape))
    return _case(label, draw, seen, np.clip(scaled, 0, 255))


def _calm(rng: np.random.Generator) -> Values:
    field = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), rng.uniform(12, 30))
    return 60 + 80 * (field - field.min()) / float(np.ptp(field))


def _dots(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    std, strength, width = rng.uniform(4, 12), rng.uniform(6, 10), (0.0, 0.7, 1.2)[draw % 3]
    places = np.zeros((SIDE, SIDE), bool)
    places[tuple(rng.integers(8, SIDE - 8, (2, 12)))] = True
    shape = ndimage.gaussian_filter(places.astype(np.float64), width) if width else places.astype(np.float64)
    one = np.zeros((21, 21))
    one[10, 10] = 1
    energy = float(np.sqrt((ndimage.gaussian_filter(one, width) ** 2).sum())) if width else 1.0
    truth = _calm(rng) + strength * std / energy * shape
    return _faint(label, draw, truth, places, (std, strength), rng)


def _lines(label: str, draw: int, rng: np.random.Generator) -> Labelled:
    std, strength = rng.uniform(4, 12), 3.0
    places = np.zeros((SIDE, SIDE), bool)
    for _ in range(4):
        length, angle = rng.uniform(20, 60), rng.uniform(0, np.pi)
        along = np.linspace(-length / 2, length / 2, 4 * SIDE)
        middle = rng.uniform(40, SIDE - 40, 2)
        spots = np.rint(middle[:, None] + np.outer([np.sin(angle), np.cos(angle)], along)).astype(int)
        places[tuple(np.clip(spots, 0, SIDE - 1))] = True
    return _faint(label, draw, _calm(rng) + strength * std * places, places, (std, strength), rng)


def _faint(
    label: str, draw: int, truth: Values, places: NDArray[np.bool_], noise: tuple[float, float],
    rng: np.random.Generator,
) -> Labelled:  # fmt: skip
    std, strength = noise
    seen = (truth + rng.normal(0, std, truth.shape)).astype(np.float32)
    return Labelled(label=label, draw=draw, seen=seen, truth=truth, places=places, strength=strength)


#: Class -> what draws one of it.
CLASSES: Mapping[str, Callable[[str, int, np.random.Generator], Labelled]] = {
    "photographs": _photographs, "textures": _textures, "checkerboards": _checkerboards, "labels": _labels,
    "masks": _masks, "clean": _clean, "jpeg": _jpeg, "denoised": _denoised, "stripes": _stripes, "borders": _borders,
    "counts": _counts, "correlated": _correlated, "saturated": _saturated, "dots": _dots, "lines": _lines,
}  # fmt: skip
