"""Measure what every method does on a device, at several numbers of tiles, and write the page.

    il bench --speed --device cuda --tiles 1,8,64,256
    python -m ilcore.benchmark.speed --device cuda --tiles 1,8,64,256

The second needs torch and numpy and nothing else: methods that need more have a row that says so.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ilcore.benchmark.page import write_between
from ilcore.benchmark.speed_page import TITLE, Speeds, in_words, part_of, speed_page
from ilcore.benchmark.speed_rows import SpeedRow, SpeedWishes, blank_rows, measured_rows
from ilcore.benchmark.timing import ceiling_of, name_of
from ilcore.grammar.devices import device_of
from ilcore.grammar.errors import BadInput, ILError

PAGE = "docs/benchmarks-gpu.md"


def measure_speed(
    wishes: SpeedWishes, page: Path, *, program: str = "il bench --speed", tell: Callable[[str], object] = print
) -> list[SpeedRow]:
    """Measure row by row, and write the page after each: what was measured before a kill is there.

    Args:
        wishes: What is measured.
        page: In Markdown; each kind of device has a part of its own, and what stands outside stays.
        program: By which the page says it was written.
        tell: Called with each row in words.

    Raises:
        BadInput: When there is no such device.
    """
    device = device_of(wishes.device)
    ceiling, date, asked = ceiling_of(device), datetime.now(UTC).date().isoformat(), len(blank_rows(wishes))
    rows: list[SpeedRow] = []
    for row in measured_rows(wishes):
        rows.append(row)
        tell(in_words(row))
        found = Speeds(
            wishes=wishes, device=name_of(device), kind=device.type, date=date, command=wishes.command(program),
            ceiling=ceiling, rows=tuple(rows), asked=asked,
        )  # fmt: skip
        write_between(page, speed_page(found), title=TITLE, part=part_of(device.type))
    return rows


def tiles_in(words: str) -> tuple[int, ...]:
    """Read numbers of tiles with commas between.

    >>> tiles_in("1,8,64")
    (1, 8, 64)

    Raises:
        BadInput: When they are no whole numbers.
    """
    try:
        return tuple(dict.fromkeys(int(word) for word in words.split(",")))
    except ValueError as error:
        raise BadInput(f"tiles must be whole numbers with commas between, got {words!r}; for example 1,8,64") from error


def main(words: Sequence[str] | None = None) -> int:
    """Measure as the command line asks; the exit code is 2 where it cannot be done as asked."""
    parser = argparse.ArgumentParser(prog="python -m ilcore.benchmark.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default=SpeedWishes.device)
    parser.add_argument("--tiles", default=",".join(map(str, SpeedWishes.tiles)))
    parser.add_argument("--side", type=int, default=SpeedWishes.side)
    parser.add_argument("--steps", type=int, default=SpeedWishes.steps)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=SpeedWishes.seed)
    parser.add_argument("--method", "-m", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path(PAGE))
    given = vars(parser.parse_args(words))
    page, methods, tiles = given.pop("out"), tuple(given.pop("method")), given.pop("tiles")
    try:
        measure_speed(SpeedWishes(tiles=tiles_in(tiles), methods=methods, **given), page, program=parser.prog)
    except ILError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
