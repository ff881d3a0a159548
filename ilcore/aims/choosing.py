"""From what preflight found to a method that denoises: which, learnt where, with which knobs, and why in a sentence.

    weights   noise                    method
    yes       white, certain           adapted: pretrained, then fine-tuned on the volume
    yes       correlated or uncertain  adapted with 0 steps: pretrained, applied as it is
    no        white, certain           nl_ridge, tile by tile
    no        correlated or uncertain  dip, tile by tile, ended by a vote

The cheap candidates that cope with the noise are tried on samples of the volume first. What each is expected to gain is
weighed against the time it takes: the price of time is what `--prefer` says. Where they say that there is nothing to
restore, nothing is done: the noise is too weak to be worth it, what every candidate takes away does not look like
noise, or none promises a gain.

Methods that learn by predicting voxels from their neighbours reproduce noise that neighbours share, so they are
allowed only where the noise is white for certain.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ilcore.adapting.weights import PHOTOS
from ilcore.aims.words import Prefer
from ilcore.degradations.estimate import Preflight
from ilcore.methods.catalogue import COPY, find
from ilcore.methods.entry import Entry, Scalar

#: Below this confidence preflight is not relied on.
CERTAIN = 0.2

#: What doubling the time costs, in dB: nothing where quality is wanted at any price.
PRICES: Mapping[Prefer, float] = {"speed": 0.5, "balance": 0.1, "quality": 0.0}
#: Below this share of the range of values there is no noise worth the risk: 46 dB. Below this gain, in dB, neither.
LEAST_NOISE, LEAST_GAIN = 0.005, 0.2
#: The same where structure looks like noise, so that its level is the most that it can be.
_LEAST_IN_DOUBT = 0.022, 0.5
#: Time that nobody minds, in seconds of one core: below it doubling costs next to nothing.
_UNMINDED = 60.0
#: What fine-tuning brings on average where the noise is white, in dB, and the seconds of one core that it takes.
_TUNING_GAIN, _TUNING_SECONDS = 0.3, 75.0

_APPLY_ONLY: Mapping[str, Scalar] = {"stop.steps": 0}
#: For image priors, which fit the noise in the end.
VOTE: Mapping[str, Scalar] = {"stop": "vote"}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A method that restores a sample within seconds, so that trying it costs little.

    Args:
        method: Name in the catalogue.
        words: What it is, for people.
        overrides: Knobs.
        weights: Of a pretrained model, where they are not those of the user.
        seconds: Of one core for a megavoxel of a plane, and of a stack; declared, not timed, so that the same volume is
            planned alike on every machine. `python -m tests.bench.choosing DATA --seconds` measures them.
    """

    method: str
    words: str
    overrides: Mapping[str, Scalar] = field(default_factory=dict)
    weights: Path | None = None
    seconds: tuple[float, float]


#: Tried on samples of a volume.
CANDIDATES: Mapping[str, Candidate] = {
    "pretrained": Candidate(
        method="adapted", words="the pretrained model", overrides=_APPLY_ONLY, seconds=(2.2, 2.2)
    ),
    "photographs": Candidate(
        method="adapted", words="the model of photographs", overrides=_APPLY_ONLY, weights=PHOTOS, seconds=(2.2, 2.2)
    ),
    "nl_ridge": Candidate(method="nl_ridge", words="the mixing of alike patches", seconds=(16.0, 20.0)),
    "nl_ridge stabilised": Candidate(
        method="nl_ridge", words="the mixing of alike patches on stabilised noise", overrides={"stabilise": True},
        seconds=(16.0, 20.0),
    ),
    "nlm": Candidate(method="nlm", words="the mean of alike patches", seconds=(3.0, 3.0)),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a way to restore the volume is expected to bring and to cost.

    Args:
        candidate: Its name.
        is_tuned: Whether weights are fine-tuned on the volume first.
        gain_db: By which the mean squared error falls below that of the input, by Stein's estimate on samples.
        hours: Of one core.
    """

    candidate: str
    is_tuned: bool = False
    gain_db: float
    hours: float

    @property
    def name(self) -> str:
        """Return a name for a table."""
        return f"{self.candidate}, fine-tuned" if self.is_tuned else self.candidate

    @property
    def words(self) -> str:
        """Return what it is, for people."""
        words = CANDIDATES[self.candidate].words
        return f"{words}, fine-tuned," if self.is_tuned else words

    def worth(self, prefer: Prefer) -> float:
        """Return the gain less the price of the time, in dB."""
        return self.gain_db - PRICES[prefer] * math.log2(1 + self.hours * 3600 / _UNMINDED)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A method and the reason for it.

    Args:
        method: Name in the catalogue.
        scope: volume (one model per acquisition) or tile (one per tile).
        overrides: Knobs to turn, as in `configure`.
        weights: Of the pretrained model, where it is not the usual one.
        why: One sentence for the report.
    """

    method: str
    scope: str
    overrides: Mapping[str, Scalar] = field(default_factory=dict)
    weights: Path | None = None
    why: str


def choose(
    preflight: Preflight,
    *,
    has_weights: bool = True,
    expected: Sequence[Expected] = (),
    refused: Mapping[str, str] | None = None,
    noise_share: float | None = None,
    prefer: Prefer = "balance",
    hours: float | None = None,
) -> Choice:
    """Choose the method that denoises one volume.

    Args:
        preflight: What is known of the noise.
        has_weights: Whether pretrained weights are at hand.
        expected: What the candidates promise, where they were tried.
        refused: Candidates that took away what is no noise, and why.
        noise_share: Standard deviation of the noise over the range of values, where candidates were tried.
        prefer: How time is weighed against gain.
        hours: Of one core that there are for this volume; None for as many as it takes.
    """
    doubt = _doubt(preflight)
    if not has_weights:
        return _from_scratch(doubt)
    least = _LEAST_IN_DOUBT if preflight.verdict == "unknown" else (LEAST_NOISE, LEAST_GAIN)
    if nothing := _nothing(expected, refused or {}, noise_share, *least):
        kept = "the source is kept as it is; a method that is named restores it all the same"
        return Choice(method=COPY, scope="tile", why=f"nothing to restore: {nothing}; {kept}")
    return _weighed(expected, prefer, hours, doubt) if expected else _pretrained(doubt)


def _nothing(
    expected: Sequence[Expected], refused: Mapping[str, str], noise_share: float | None, least: float, gain: float
) -> str:
    """Return why there is nothing to restore; empty where there is, or where nothing was tried."""
    if noise_share is not None and noise_share < least:
        return f"the noise is {noise_share:.2%} of the range of values, less than {least:.1%}"
    if refused and not expected:
        name, why = next(iter(refused.items()))
        return f"nothing that was tried takes away noise alone; of what {CANDIDATES[name].words} takes, {why}"
    best = max((one.gain_db for one in expected if not one.is_tuned), default=math.inf)
    return f"no method promises a gain ({best:+.1f} dB the best on samples)" if best < gain else ""


def able(preflight: Preflight, *, own_weights: bool = False) -> dict[str, Candidate]:
    """Return the candidates that cope with the noise.

    Where structure looks like noise, its level is the most that white noise can have, and it is tried as that.

    Args:
        preflight: What is known of the noise.
        own_weights: Whether the user brings a model, which then takes the place of all that ship.
    """
    kinds = (replace(one, verdict="white") if one.verdict == "unknown" else one for one in preflight.channels)
    taken = Preflight(channels=tuple(kinds))
    return {
        name: one
        for name, one in CANDIDATES.items()
        if preflight.channels and copes(find(one.method), taken) and not (own_weights and one.weights)
    }


def copes(entry: Entry, preflight: Preflight) -> bool:
    """Tell whether a method copes with the noise of every channel."""
    return all(channel.verdict in entry.copes_with for channel in preflight.channels)


def expected_of(gains: Mapping[str, float], preflight: Preflight, megavoxels: float, *, space: int) -> list[Expected]:
    """Return what each candidate promises for the whole volume; fine-tuning is one of them where the noise allows it.

    Args:
        gains: Candidate -> gain in dB on samples.
        preflight: What is known of the noise.
        megavoxels: Of the volume, all channels.
        space: 2 or 3 axes of space.
    """
    found = []
    for name, gain in gains.items():
        one = CANDIDATES[name]
        seconds = one.seconds[space - 2] * megavoxels
        found.append(Expected(candidate=name, gain_db=gain, hours=seconds / 3600))
        if one.method == "adapted" and _doubt(preflight) is None:
            tuned, hours = gain + _TUNING_GAIN, (seconds + _TUNING_SECONDS) / 3600
            found.append(Expected(candidate=name, is_tuned=True, gain_db=tuned, hours=hours))
    return found


def _weighed(expected: Sequence[Expected], prefer: Prefer, hours: float | None, doubt: str | None) -> Choice:
    """Return the candidate that is worth most; of those that fit into the hours, where any does."""
    fitting = [one for one in expected if hours is None or one.hours <= hours]
    best = max(fitting or [min(expected, key=lambda one: one.hours)], key=lambda one: one.worth(prefer))
    told = f"tried on samples, {best.words} promises {best.gain_db:+.1f} dB in {_duration(best.hours)} of one core"
    others = [f"{one.words} {one.gain_db:+.1f} dB in {_duration(one.hours)}" for one in expected if one is not best]
    given = f", {_duration(hours)} given" if hours is not None else ""
    why = f"{told} ({'; '.join([*others, f'{prefer} preferred{given}'])})"
    if doubt:
        why += f"; {doubt}, so nothing learns from neighbours"
    chosen = CANDIDATES[best.candidate]
    return Choice(
        method=chosen.method,
        scope="volume" if chosen.method == "adapted" else "tile",
        overrides={} if best.is_tuned else dict(chosen.overrides),
        weights=chosen.weights,
        why=why,
    )


def _duration(hours: float) -> str:
    seconds = hours * 3600
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if hours < 2 else f"{hours:.1f} h"


def _pretrained(doubt: str | None) -> Choice:
    if doubt is None:
        why = "the noise is white, so the pretrained model can be fine-tuned on the volume and checked on hidden voxels"
        return Choice(method="adapted", scope="volume", why=why)
    why = f"{doubt}, so the pretrained model is applied without fine-tuning"
    return Choice(method="adapted", scope="volume", overrides=dict(_APPLY_ONLY), why=why)


def _from_scratch(doubt: str | None) -> Choice:
    if doubt is not None:
        why = f"{doubt} and there are no pretrained weights, so each tile is fitted with an image prior"
        return Choice(method="dip", scope="tile", overrides=dict(VOTE), why=why)
    why = "the noise is white and there are no pretrained weights, so alike patches of each tile restore one another"
    return Choice(method="nl_ridge", scope="tile", why=why)


def asked_for(entry: Entry, preflight: Preflight) -> str:
    """Return the reason for a method that the user named, with a warning where the noise is not of its kind."""
    if copes(entry, preflight):
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
