"""Every method, by name."""

import difflib

from ilcore.grammar.errors import UnknownMethod
from ilcore.methods.entry import Entry
from ilcore.methods.image_prior import dip
from ilcore.methods.pretrained import adapted
from ilcore.methods.zero_shot import zs_n2n

_ENTRIES = (
    Entry(
        name="zs_n2n",
        method=zs_n2n,
        summary="Small network learnt from the two diagonal halves of the image; white noise, no knowledge needed.",
        reference="Mansour & Heckel, Zero-Shot Noise2Noise, CVPR 2023",
    ),
    Entry(
        name="dip",
        method=dip,
        summary="Hourglass fitted to the image from a random code; denoises, and fills missing values. Slow.",
        reference="Ulyanov, Vedaldi & Lempitsky, Deep image prior, CVPR 2018",
        tasks=frozenset({"denoise", "inpaint"}),
        tile_steps=500,
    ),
    Entry(
        name="adapted",
        method=adapted,
        summary="Pretrained blind denoiser, fine-tuned on the scan where held-out pixels prove that it helps.",
        reference="Mohan et al., GainTuning, NeurIPS 2021; Pang et al., Recorrupted-to-Recorrupted, CVPR 2021",
        needs=frozenset({"weights", "noise"}),
    ),
)

METHODS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def find(name: str) -> Entry:
    """Return a method of the catalogue.

    Raises:
        UnknownMethod: Naming the nearest there is.
    """
    if name in METHODS:
        return METHODS[name]
    near = difflib.get_close_matches(name, METHODS, 1, 0.0)
    raise UnknownMethod(f"method must be one of {', '.join(METHODS)}; got {name!r}; did you mean {near[0]!r}?")
