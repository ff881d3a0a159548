"""How an array is restored: by the method that was asked for, or by the one that a plan of the same values would have.

array ── samples ── preflight ── candidates tried on samples ── method, knobs, weights, and why
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ilcore.adapting.weights import SHIPPED
from ilcore.aims.aim import Aim, Findings
from ilcore.degradations.estimate import ChannelReport, Preflight, preflight
from ilcore.degradations.stripes import Direction, without_stripes
from ilcore.grammar.errors import BadInput
from ilcore.grammar.problem import Noise
from ilcore.grammar.region import slices
from ilcore.methods.catalogue import COPY, find
from ilcore.methods.entry import Entry, Scalar, configure, full_name
from ilcore.planning.array_scale import ArrayChannel, Scale
from ilcore.planning.known import believed, live_channels, places
from ilcore.planning.probing import promised
from ilcore.planning.second_opinion import with_second_opinion
from ilcore.planning.striping import stripes_in, words_of


@dataclass(frozen=True)
class Seen:
    """An array, and what the user says of it.

    Args:
        scale: Its values and their normalisation.
        kind: Type of a value, whose extremes are limits of the detector.
        noise_std: Standard deviation of the noise, where the user knows it.
        seed: Of the places that are looked at and of probes.
        striped: What shared offsets that were subtracted, if anything.
    """

    scale: Scale
    kind: np.dtype[Any]
    noise_std: float | None
    seed: int
    striped: Direction | None = None

    @cached_property
    def samples(self) -> list[NDArray[Any]]:
        """Return samples [channel, z, y, x], from where a plan would take them."""
        known = self.scale.known.numpy()
        frames = known if known.ndim == 5 else known[:, :, None]
        shape = (len(frames), *frames.shape[1:])
        return [frames[slices(region)][0] for region in places(shape, self.seed)]

    def without_stripes(self) -> "Seen":
        """Return the same without offsets that columns or rows share; a level that is known stands for it as it is."""
        striped = stripes_in(self.samples) if self.noise_std is None else None
        if striped is None:
            return self
        bare = torch.from_numpy(without_stripes(self.scale.known.numpy(), striped))
        scale = replace(self.scale, batch=torch.where(self.scale.trusted, bare, self.scale.batch))
        return replace(self, scale=scale, striped=striped)

    @cached_property
    def found(self) -> Preflight:
        """Return what preflight finds, with the noise level that the user knows."""
        return believed(with_second_opinion(preflight(self.samples, self.kind), self.samples), self.noise_std)

    @cached_property
    def measured(self) -> tuple[ArrayChannel, ...]:
        """Return the channels with their noise as found."""
        pairs = zip(self.scale.channels, self.found.channels, strict=True)
        return tuple(replace(channel, noise=_noise(one, channel)) for channel, one in pairs)

    def told(self) -> tuple[Noise, ...]:
        """Return the noise in normalised units: white of the level that the user knows, else as found."""
        if self.noise_std is None:
            return tuple(channel.noise for channel in self.measured)
        return tuple(Noise(read_std=_plain(self.noise_std / (one.high - one.low))) for one in self.scale.channels)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How an array is restored.

    Args:
        entry: The method, its knobs turned.
        weights: Of a pretrained model; None where there is none.
        noise: Of each channel, in normalised units; None where nobody need know.
        is_shared: Whether all tiles share what is learnt.
        why: One sentence.
    """

    entry: Entry
    weights: Path | None
    noise: tuple[Noise, ...] | None
    is_shared: bool = False
    why: str = "the user asked for it"


def asked(seen: Seen, aim: Aim, method: str, weights: Path | None, overrides: Mapping[str, Scalar]) -> Way:
    """Return the way that the user asked for.

    Raises:
        BadInput: For an unknown method or knob, one that cannot do it, or weights for a method that has none.
    """
    entry = configure(find(method), overrides)
    if entry.name != COPY:
        aim.check(entry)
    # A stopping rule or a change of units may have to know it too.
    wants = "noise" in entry.needs or bool({"stop", "stabilise"} & set(overrides))
    noise = seen.told() if seen.noise_std is not None or wants else None
    return Way(entry=entry, weights=_weights(entry, weights, None), noise=noise)


def chosen(seen: Seen, aim: Aim, weights: Path | None, overrides: Mapping[str, Scalar]) -> Way:
    """Return the way that a plan would choose.

    Raises:
        BadInput: For an unknown knob of the method chosen, or weights for one that has none.
    """
    choice, is_told = aim.choose(_findings(seen, aim, weights)), aim.tells_noise or seen.noise_std is not None
    if choice.method == COPY:
        # Knobs and weights are for what restores.
        return Way(entry=find(COPY), weights=None, noise=None, why=choice.why)
    knobs = {**choice.overrides, **{full_name(knob): value for knob, value in overrides.items()}}
    entry = configure(find(choice.method), knobs)
    return Way(
        entry=entry,
        weights=_weights(entry, weights, choice.weights),
        noise=tuple(channel.noise for channel in seen.measured) if is_told else None,
        is_shared=choice.scope == "volume",
        why=f"{choice.why}; {words_of(seen.striped)}" if seen.striped else choice.why,
    )


def _findings(seen: Seen, aim: Aim, weights: Path | None) -> Findings:
    live, batch = live_channels(seen.found, seen.measured), seen.scale.batch
    if not aim.tries_candidates:
        return Findings(preflight=live)
    promises = promised(
        seen.samples, seen.measured, live, space=batch.ndim - 2, seed=seen.seed, megavoxels=batch.numel() / 1e6,
        weights=weights,
    )  # fmt: skip
    return Findings(
        preflight=live, expected=promises.expected, refused=promises.refused, noise_share=promises.noise_share
    )


def _weights(entry: Entry, own: Path | None, usual: Path | None) -> Path | None:
    if "weights" in entry.needs:
        return own or usual or SHIPPED
    if own:
        raise BadInput(f"weights serve methods that start pretrained, got {entry.name}; leave them out")
    return None


def _noise(report: ChannelReport, channel: ArrayChannel) -> Noise:
    """Return the noise in normalised units, with the correlation that was measured."""
    known = replace(report.noise, correlation=report.verdict, lags=(report.lag_y, report.lag_x))
    scaled = known.scaled(channel.low, channel.high)
    gain, read_std, offset = map(_plain, (scaled.gain, scaled.read_std, scaled.offset))
    return replace(scaled, gain=gain, read_std=read_std, offset=offset)


def _plain(value: float) -> float:
    """Round a noise parameter to what it is worth: the same in all units."""
    return float(f"{value:.6g}")
