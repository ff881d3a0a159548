"""From what preflight found to a method: which one, learnt where, with which knobs, and why in one sentence.

    task     weights   noise                    method
    inpaint  any       any                      dip, tile by tile
    denoise  yes       white, certain           adapted: pretrained, then fine-tuned on the volume
    denoise  yes       correlated or uncertain  adapted with 0 steps: pretrained, applied as it is
    denoise  no        white, certain           zs_n2n, one model for the volume; tile by tile for very few tiles
    denoise  no        correlated or uncertain  dip, tile by tile

Methods that learn by predicting voxels from their neighbours reproduce noise that neighbours share, so they are
allowed only where the noise is white for certain.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ilcore.degradations.estimate import Preflight
from ilcore.grammar.errors import BadInput

#: Below this confidence preflight is not relied on.
CERTAIN = 0.2
#: A volume of fewer voxels has too few tiles to share one model among them.
_FEW_VOXELS = 4 * 128 * 128

_APPLY_ONLY: Mapping[str, bool | int | float | str] = {"stop.steps": 0}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A method and the reason for it.

    Args:
        method: Name in the catalogue.
        scope: volume (one model per acquisition) or tile (one per tile).
        overrides: Knobs to turn, as in `configure`.
        why: One sentence for the report.
    """

    method: str
    scope: str
    overrides: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    why: str


def choose(preflight: Preflight, *, task: str = "denoise", space: int, voxels: int, has_weights: bool = True) -> Choice:
    """Choose the method for one volume.

    Args:
        preflight: What is known of the noise.
        task: denoise or inpaint.
        space: Number of space axes with more than one plane, 2 or 3.
        voxels: Voxels of one channel of the volume.
        has_weights: Whether pretrained weights are at hand.

    Raises:
        BadInput: The task is neither.
    """
    if task == "inpaint":
        return Choice(method="dip", scope="tile", why="missing values are filled from what the tile itself contains")
    if task != "denoise":
        raise BadInput(f"task must be denoise or inpaint, got {task!r}")
    doubt = _doubt(preflight)
    if has_weights:
        return _pretrained(doubt)
    return _from_scratch(doubt, space, voxels)


def _pretrained(doubt: str | None) -> Choice:
    if doubt is None:
        why = "the noise is white, so the pretrained model can be fine-tuned on the volume and checked on hidden voxels"
        return Choice(method="adapted", scope="volume", why=why)
    why = f"{doubt}, so the pretrained model is applied without fine-tuning"
    return Choice(method="adapted", scope="volume", overrides=dict(_APPLY_ONLY), why=why)


def _from_scratch(doubt: str | None, space: int, voxels: int) -> Choice:
    if doubt is not None:
        why = f"{doubt} and there are no pretrained weights, so each tile is fitted with an image prior"
        return Choice(method="dip", scope="tile", why=why)
    scope = "tile" if voxels < _FEW_VOXELS * (32 if space == 3 else 1) else "volume"
    why = f"the noise is white and there are no pretrained weights, so one small model per {scope} learns from pairs"
    return Choice(method="zs_n2n", scope=scope, why=why)


def _doubt(preflight: Preflight) -> str | None:
    """Return why methods that predict a voxel from its neighbours must not be used, or None."""
    verdict, confidence = preflight.verdict, preflight.confidence
    if verdict == "unknown" or not preflight.channels:
        return "the noise could not be told from the signal"
    if verdict != "white":
        return f"the noise of neighbours is correlated ({verdict}, {_largest_lag(preflight):.2f})"
    if confidence < CERTAIN:
        return f"the noise looks white but that is uncertain (confidence {confidence:.2f}, needed {CERTAIN})"
    return None


def _largest_lag(preflight: Preflight) -> float:
    return max(max(channel.lag_y, channel.lag_x) for channel in preflight.channels)
