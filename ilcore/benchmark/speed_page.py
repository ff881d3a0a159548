"""What was measured of speed, as Markdown: the machine, its ceiling, a table for every number of tiles."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ilcore.benchmark.page import grid
from ilcore.benchmark.speed_rows import COUNTED_TILES, FEW, FLOP_STEPS, PLANES, STD, SpeedRow, SpeedWishes
from ilcore.benchmark.timing import Ceiling

TITLE = "What methods do on a device"
_ON_A_CPU = (
    "On a CPU host and device are one: reads of numbers that never left the host, such as the step number of an "
    "optimiser, count too. The seconds are this machine's and say nothing of a GPU; memory is not told, since a "
    "process keeps what it once took."
)
_COUNTED = ["launches", "host reads", "kB drawn on the host"]


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """A measurement.

    Args:
        wishes: What was asked for.
        device: What the device is called.
        kind: cpu, cuda ...
        date: Of the measurement, ISO 8601.
        command: What measures it again.
        ceiling: What the device does at its best.
        rows: So far.
        asked: How many rows there are to be.
    """

    wishes: SpeedWishes
    device: str
    kind: str
    date: str
    command: str
    ceiling: Ceiling
    rows: tuple[SpeedRow, ...]
    asked: int


def part_of(kind: str) -> str:
    """Return the part of a page that belongs to a kind of device: a CPU does not write over what a GPU did."""
    return {"cpu": "on a CPU", "cuda": "on a GPU"}.get(kind, f"on {kind}")


def in_words(row: SpeedRow) -> str:
    """Return a row as one line."""
    what = f"{row.name}, {row.tiles} x {row.side}²"
    if row.refused:
        return f"{what}: {row.refused}"
    if row.megapixel_seconds is not None:
        return f"{what}: {_number(row.megapixel_seconds)} s a megapixel"
    return f"{what}: {_number(_scaled(row.tile_step_seconds, 1e6))} µs a tile and step"


def speed_page(found: Speeds) -> str:
    """Return everything that belongs between the markers."""
    steps = [row for row in found.rows if row.step_seconds is not None]
    whole = [row for row in found.rows if row.megapixel_seconds is not None]
    refused = [row for row in found.rows if row.refused]
    tables = [
        f"### {n} {'tiles' if n > 1 else 'tile'}\n\n{_steps(steps, n, found.ceiling)}" for n in found.wishes.tiles
    ]
    parts = [f"## Measured {part_of(found.kind)}", _facts(found), _ceiling(found.ceiling), _notes(found), *tables]
    parts += [f"### Without steps\n\n{_whole(whole)}"] if whole else []
    parts += [f"### Not measured\n\n{_refused(refused)}"] if refused else []
    return "\n\n".join(parts)


def _facts(found: Speeds) -> str:
    wishes = found.wishes
    facts = {
        "device": found.device,
        "date": found.date,
        "software": f"Python {platform.python_version()}, torch {torch.__version__}, {platform.system()}",
        "tiles": f"{wishes.side} x {wishes.side}, one channel, generated, noise {STD * 255:.0f} of 255 told, seed "
        f"{wishes.seed}; {PLANES} planes for methods that need a stack",
    }
    if len(found.rows) < found.asked:
        facts["not finished"] = f"{len(found.rows)} of {found.asked} rows"
    return "\n".join([*(f"- {name}: {value}" for name, value in facts.items()), "", f"    {found.command}"])


def _ceiling(ceiling: Ceiling) -> str:
    rates = ", ".join(f"{_number(rate)} in {name}" for name, rate in ceiling.tflops.items())
    return (
        f"Ceiling, measured in the same run: a large matrix product makes {rates} (TFLOP/s), a large copy reads and "
        f"writes {_number(ceiling.bandwidth / 1e9)} GB/s. *Share* is of {ceiling.precision}, in which torch convolves "
        "here."
    )


def _notes(found: Speeds) -> str:
    wider = FEW + found.wishes.steps
    words = (
        f"Milliseconds: runs of {FEW} and of {wider} steps, their difference over the steps between. Operations (FLOP) "
        f"are those of one tile, by torch's counter on the CPU, between {FLOP_STEPS[0]} and {FLOP_STEPS[1]} steps. "
        "*Launches*, *host reads* and *drawn on the host* are counted, a step: operators that compute, times the host "
        f"waited for values, random numbers that were drawn there; at up to {COUNTED_TILES} tiles, computed together "
        "as on a GPU."
    )
    return words if found.kind != "cpu" else f"{words} {_ON_A_CPU}"


def _steps(rows: Sequence[SpeedRow], tiles: int, ceiling: Ceiling) -> str:
    names = ["method", "ms a step", "µs a tile and step", "tile-steps/s", "GFLOP", "TFLOP/s", "share", "peak MB"]
    own = [row for row in rows if row.tiles == tiles]
    cells = [
        [
            f"`{row.name}`",
            _number(_scaled(row.step_seconds, 1e3)),
            _number(_scaled(row.tile_step_seconds, 1e6)),
            _number(1 / row.tile_step_seconds if row.tile_step_seconds else None),
            _number(_scaled(row.flop, 1e-9)),
            _number(row.tflops),
            "-" if row.tflops is None else f"{row.tflops / ceiling.rate:.1%}",
            *_last(row),
        ]
        for row in own
    ]
    return grid([*names, *_COUNTED], cells) if cells else "Nothing."


def _whole(rows: Sequence[SpeedRow]) -> str:
    cells = [
        [f"`{row.name}`", f"{row.tiles} x {row.side}²", _number(_scaled(row.megapixel_seconds, 1e3)), *_last(row)]
        for row in rows
    ]
    return grid(["what", "tiles", "ms a megapixel", "peak MB", *_COUNTED], cells)


def _last(row: SpeedRow) -> list[str]:
    drawn = _scaled(row.host_drawn_bytes, 1e-3)
    return [_number(_scaled(row.peak_bytes, 1e-6)), *map(_number, (row.launches, row.host_reads, drawn))]


def _refused(rows: Sequence[SpeedRow]) -> str:
    reasons: dict[str, list[str]] = {}
    for row in rows:
        reasons.setdefault(row.refused, []).append(f"{row.name} ({row.tiles} x {row.side}²)")
    return grid(["why", "what"], [[why, ", ".join(what)] for why, what in reasons.items()])


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == 0:
        return "0"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
