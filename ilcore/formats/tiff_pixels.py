"""What the tags of a TIFF say of its pixels: measured, classes, or yes and no; and which sample is opacity."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.volumes.volume import Kind

#: PhotometricInterpretation.
WHITE_IS_ZERO, PALETTE, MASK = 0, 3, 4
#: Interpretations whose numbers are neither grey nor red, green, blue.
OTHERS = {5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab"}
#: ExtraSamples: opacity that the colours are multiplied by already, and that they are not.
OPACITY = (1, 2)
#: How bright red, green and blue are.
BRIGHTNESS = (0.299, 0.587, 0.114)
#: By how much of the whole range a table of colours may fall and still lead from dark to bright.
DIP = 0.02


def kind_of(page: Any) -> Kind:
    """Return what the pixels of a page mean."""
    if page.bitspersample == 1 or page.is_mask or page.photometric == MASK:
        return "mask"
    if page.photometric == PALETTE and not (page.colormap is not None and is_ramp(page.colormap)):
        return "palette"
    return "image"


def is_ramp(table: NDArray[Any]) -> bool:
    """Tell whether a table of colours leads from dark to bright, so that its indices measure something.

    Shape:
        table [red green blue, index].
    """
    bright = np.asarray(BRIGHTNESS) @ np.asarray(table, np.float64)
    span = float(np.ptp(bright))
    falls = np.minimum.reduce(np.diff(bright), initial=0.0)
    return span > 0 and bool(falls >= -DIP * span) and bool(bright[-1] - bright[0] > span / 2)


def opacity_of(page: Any) -> int | None:
    """Return the number of the sample that is opacity; None where there is none."""
    first = page.samplesperpixel - len(page.extrasamples)
    return next((first + at for at, each in enumerate(page.extrasamples) if each in OPACITY), None)


def remarks_of(page: Any) -> tuple[str, ...]:
    """Return what the tags say of the meaning of numbers that a result has no word for."""
    told = []
    if page.photometric == WHITE_IS_ZERO:
        told.append("white is 0 there (PhotometricInterpretation 0): values are kept as they are, so black is white")
    # JPEG is turned into red, green, blue where it is unpacked.
    if page.photometric in OTHERS and not (page.photometric == 6 and page.compression in (6, 7)):
        told.append(f"its samples are {OTHERS[page.photometric]}, no light as it was measured: kept as they are")
    opacity = opacity_of(page)
    if opacity is not None:
        told.append(f"sample {opacity} is opacity: kept as it is, and where it is 0 there is no data")
    return tuple(told)
