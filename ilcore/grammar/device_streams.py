"""Random streams that are drawn where the tiles lie: all rows together, in a few operations, nothing sent over.

A number is a function of its row's key and of how many that row has drawn before, and of nothing else: it depends
neither on who shares the batch nor on the device. Roundings of logarithm and cosine differ in the last bits.

    place = key + number * step of the row  ─>  mixed: 64 random bits  ─>  two uniform, or two normal numbers

Reference:
    Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64, one step a stream).
"""

import hashlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams

#: Kinds of devices that draw for themselves.
DRAWING = frozenset({"cuda"})
#: Multipliers and shifts of the mixing function, variant 13 of Stafford's.
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31


def drawn_on(streams: Streams, device: torch.device) -> Streams:
    """Return streams of the same tiles that are drawn on a GPU; on any other device the streams as they are.

    They begin at seeds that the streams draw, so that no two that are made of them draw the same.
    """
    if device.type not in DRAWING or isinstance(streams, DeviceStreams):
        return streams
    seeds = [int(torch.randint(1 << 62, (), generator=one)) for one in streams.generators]
    return DeviceStreams.of_seeds(seeds, device)


class DeviceStreams(Streams):
    """One random stream per tile, drawn on a device for all rows at once.

    Args:
        seeds: Seed of each row.
        drawn: How many 64-bit places each row has used, [row], int64, on the device; shared with streams of some of
            the rows, as are the generators.
        places: Where each row stands in `drawn`.
        known: Generators by place in `drawn`, as far as they were asked for.
    """

    def __init__(
        self, seeds: Sequence[int], drawn: Tensor, places: Sequence[int], known: dict[int, torch.Generator]
    ) -> None:
        # Not that of the parent, whose generators lie on the CPU.
        self._seeds, self._drawn, self._places, self._known = tuple(seeds), drawn, list(places), known
        self._keys = [_words(seed) for seed in self._seeds]
        self._last: tuple[int, ...] | None = None
        self._told: tuple[Tensor, ...] = ()

    @classmethod
    def of_seeds(cls, seeds: Sequence[int], device: torch.device | str) -> "DeviceStreams":
        """Return streams that begin; the same seeds give the same numbers."""
        return cls(seeds, torch.zeros(len(seeds), dtype=torch.int64, device=device), range(len(seeds)), {})

    @property
    def seeds(self) -> tuple[int, ...]:
        return self._seeds

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """One generator of the device a row, for laws that are not made of uniform numbers here: counts."""
        return tuple(map(self._generator, self._seeds, self._places))

    def _generator(self, seed: int, place: int) -> torch.Generator:
        if place not in self._known:
            self._known[place] = torch.Generator(self._drawn.device).manual_seed(seed)
        return self._known[place]

    def __len__(self) -> int:
        return len(self._seeds)

    def only(self, rows: Sequence[int]) -> "DeviceStreams":
        seeds, places = [self._seeds[row] for row in rows], [self._places[row] for row in rows]
        return DeviceStreams(seeds, self._drawn, places, self._known)

    def apart(self, purpose: str) -> "DeviceStreams":
        return DeviceStreams.of_seeds(super().apart(purpose).seeds, self._drawn.device)

    def uniform(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> Tensor:
        count = math.prod(shape)
        bits = self._bits(-(-count // 2), rows)
        # 24 bits are what a float32 below one can hold.
        halves = torch.cat([_shifted(bits, 40), _shifted(bits, 8) & 0xFFFFFF], 1)
        return halves[:, :count].float().mul_(2.0**-24).reshape(-1, *shape)

    def normal(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> Tensor:
        count = math.prod(shape)
        bits = self._bits(-(-count // 2), rows)
        # Box and Muller; the half keeps the logarithm finite.
        radius = ((_shifted(bits, 32).float() + 0.5) * 2.0**-32).clamp_max_(1).log_().mul_(-2).sqrt_()
        angle = (bits & 0xFFFFFFFF).float().mul_(2 * math.pi * 2.0**-32)
        pairs = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)
        return pairs[:, :count].reshape(-1, *shape)

    def many(self, rows: Sequence[int]) -> Callable[[Sequence[int]], Tensor]:
        return lambda shape: self.uniform(shape, rows)

    def _bits(self, count: int, rows: Sequence[int] | None) -> Tensor:
        """Return 64 random bits at so many new places of each row, [row, place]."""
        keys, steps, places, turns = self._index(tuple(range(len(self)) if rows is None else rows))
        begun = self._drawn.index_select(0, places).add_(turns * count)
        self._drawn.index_add_(0, places, torch.full_like(begun, count))
        numbers = begun[:, None] + torch.arange(1, count + 1, device=begun.device)
        return _mixed(numbers.mul_(steps[:, None]).add_(keys[:, None]))

    def _index(self, rows: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Return key, step, place and turn of each row; a row that is named again draws on. Kept while rows stay."""
        if rows != self._last:
            turns = [rows[:number].count(row) for number, row in enumerate(rows)]
            told = [[*self._keys[row], self._places[row], turn] for row, turn in zip(rows, turns, strict=True)]
            sent = torch.tensor(told, dtype=torch.int64).reshape(-1, 4).to(self._drawn.device)
            self._last, self._told = rows, sent.unbind(1)
        return self._told


def _words(seed: int) -> tuple[int, int]:
    """Return key and step of a row; a step is odd, and neither sparse nor regular in its bits."""
    digest = hashlib.sha256(seed.to_bytes(8, "big")).digest()
    key, step = (int.from_bytes(digest[start : start + 8], "big") for start in (0, 8))
    step |= 1
    step = step if (step ^ (step >> 1)).bit_count() >= 24 else step ^ 0xAAAAAAAAAAAAAAAA
    return _signed(key), _signed(step)


def _mixed(places: Tensor) -> Tensor:
    for shift, factor in _MIX:
        places = (places ^ _shifted(places, shift)).mul_(_signed(factor))
    return places ^ _shifted(places, _LAST_SHIFT)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift to the right, zeros coming in: the numbers are signed for torch alone."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
