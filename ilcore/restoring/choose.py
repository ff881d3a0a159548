"""From what preflight found to a method: which one, learnt where, with which knobs, and why in one sentence.

    task     weights   noise                    method
    inpaint  any       any                      dip, tile by tile, ended by a vote
    denoise  yes       white, certain           adapted: pretrained, then fine-tuned on the volume
    denoise  yes       correlated or uncertain  adapted with 0 steps: pretrained, applied as it is
    denoise  no        white, certain           nl_ridge, tile by tile
    denoise  no        correlated or uncertain  dip, tile by tile, ended by a vote

Where the noise is known, its correlation included, the cheap candidates are tried on samples of the volume first, and
the best of them takes the place of the pretrained model wherever its estimated risk is clearly lower.

Methods that learn by predicting voxels from their neighbours reproduce noise that neighbours share, so they are
allowed only where the noise is white for certain.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ilcore.degradations.estimate import Preflight
from ilcore.grammar.errors import BadInput
from ilcore.methods.entry import Entry

#: Below this confidence preflight is not relied on.
CERTAIN = 0.2
#: Risks in this proportion differ clearly: fine-tuning wins about as much as that back.
_CLEARLY = 0.93

_APPLY_ONLY: Mapping[str, bool | int | float | str] = {"stop.steps": 0}
_VOTE: Mapping[str, bool | int | float | str] = {"stop": "vote"}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A method that restores a sample within a second, so that trying it costs next to nothing.

    Args:
        method: Name in the catalogue.
        words: What it is, for people.
        overrides: Knobs.
    """

    method: str
    words: str
    overrides: Mapping[str, bool | int | float | str] = field(default_factory=dict)


#: Tried on samples of a volume; the pretrained model is taken as it is, since fine-tuning can only lower its risk.
CANDIDATES: Mapping[str, Candidate] = {
    "adapted": Candidate(method="adapted", words="the pretrained model"),
    "nl_ridge": Candidate(method="nl_ridge", words="the mixing of alike patches"),
    "nl_ridge stabilised": Candidate(
        method="nl_ridge", words="the mixing of alike patches on stabilised noise", overrides={"stabilise": True}
    ),
    "nlm": Candidate(method="nlm", words="the mean of alike patches"),
}


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


def choose(
    preflight: Preflight, *, task: str = "denoise", has_weights: bool = True, risks: Mapping[str, float] | None = None
) -> Choice:
    """Choose the method for one volume.

    Args:
        preflight: What is known of the noise.
        task: denoise or inpaint.
        has_weights: Whether pretrained weights are at hand.
        risks: Estimated risk of the candidates on samples, where they were tried.

    Raises:
        BadInput: The task is neither.
    """
    if task == "inpaint":
        why = "missing values are filled from what the tile itself contains"
        return Choice(method="dip", scope="tile", overrides=dict(_VOTE), why=why)
    if task != "denoise":
        raise BadInput(f"task must be denoise or inpaint, got {task!r}")
    doubt = _doubt(preflight)
    if not has_weights:
        return _from_scratch(doubt)
    return (_by_risk(risks) if risks else None) or _pretrained(doubt)


def is_worth_trying(preflight: Preflight) -> bool:
    """Tell whether the noise is known well enough for risks to be estimated."""
    return bool(preflight.channels) and preflight.verdict != "unknown" and preflight.confidence >= CERTAIN


def _by_risk(risks: Mapping[str, float]) -> Choice | None:
    pretrained = risks["adapted"]
    name, own = min(((name, risk) for name, risk in risks.items() if name != "adapted"), key=lambda pair: pair[1])
    if own >= _CLEARLY * pretrained:
        return None
    candidate = CANDIDATES[name]
    share = f"{max(own, 0) / pretrained:.0%} of" if pretrained > 0 else "less than"
    why = f"tried on samples, {candidate.words} has {share} the pretrained model's risk"
    return Choice(method=candidate.method, scope="tile", overrides=dict(candidate.overrides), why=why)


def _pretrained(doubt: str | None) -> Choice:
    if doubt is None:
        why = "the noise is white, so the pretrained model can be fine-tuned on the volume and checked on hidden voxels"
        return Choice(method="adapted", scope="volume", why=why)
    why = f"{doubt}, so the pretrained model is applied without fine-tuning"
    return Choice(method="adapted", scope="volume", overrides=dict(_APPLY_ONLY), why=why)


def _from_scratch(doubt: str | None) -> Choice:
    if doubt is not None:
        why = f"{doubt} and there are no pretrained weights, so each tile is fitted with an image prior"
        return Choice(method="dip", scope="tile", overrides=dict(_VOTE), why=why)
    why = "the noise is white and there are no pretrained weights, so alike patches of each tile restore one another"
    return Choice(method="nl_ridge", scope="tile", why=why)


def asked_for(entry: Entry, preflight: Preflight) -> str:
    """Return the reason for a method that the user named, with a warning where the noise is not of its kind."""
    if not preflight.channels or preflight.verdict in entry.copes_with:
        return "the user asked for it"
    kinds = ", ".join(sorted(entry.copes_with))
    return f"the user asked for it, BUT {_doubt(preflight)}, and {entry.name} copes with {kinds} only: noise may stay"


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
