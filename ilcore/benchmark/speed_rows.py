"""What one method takes on a device for so many tiles at once: seconds, operations, memory, launches, reads, draws.

A step is the difference of two runs of unlike budgets, so that what a run does once is not in it.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ilcore import fit
from ilcore.benchmark.counting import Counts, counted
from ilcore.benchmark.timing import forget_peak, free, peak_bytes, timed
from ilcore.degradations.imaging import Imaging
from ilcore.degradations.kernels import kernel_of
from ilcore.grammar.arrays import Streams, Weights
from ilcore.grammar.commands import command
from ilcore.grammar.devices import device_of, is_out_of_memory, make_repeatable
from ilcore.grammar.errors import BadInput
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import METHODS, find
from ilcore.methods.entry import Entry, configure

#: Noise of 25 of 255; planes of a stack, for methods that need one.
STD, PLANES = 25 / 255, 8
#: Steps of the shorter run: the first of them are not like the others.
FEW = 5
#: Steps of the two runs by which operations are counted, on a CPU: what a GPU plays back as a graph is not seen.
FLOP_STEPS = (2, 6)
#: Counting takes as long as measuring, and what grows with the tiles shows at a few of them.
COUNTED_TILES = 8
#: Methods without steps take as long as there are tiles: no more of them where that would be more seconds than this.
LONGEST = 20.0
#: How often both runs are timed where the shorter one took longer, on a machine that is busy with something else.
TRIES = 3
#: The name of a row in which the weights that ship with the project are applied and nothing is learnt.
APPLIED = "shipped weights, applied"


@dataclass(frozen=True, kw_only=True)
class SpeedWishes:
    """What is measured.

    Args:
        device: auto, cpu, cuda, cuda:1, or whatever else torch knows.
        tiles: Numbers of tiles that are restored together, in the order in which they are measured.
        side: Of a tile.
        steps: By which the longer run is longer; on a GPU the host looks at losses once in 32.
        seconds: After so many nothing more is begun; None for as long as it takes.
        methods: Names in the catalogue; none for all.
        seed: Of tiles and methods.

    Raises:
        BadInput: For what cannot be measured.
    """

    device: str = "auto"
    tiles: tuple[int, ...] = (1, 8, 64, 256)
    side: int = 128
    steps: int = 32
    seconds: float | None = None
    methods: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        least = min(self.tiles, default=0)
        if least < 1 or self.side < 16 or self.steps < 1 or (self.seconds is not None and self.seconds <= 0):
            raise BadInput(
                "a measurement of speed needs tiles >= 1, side >= 16, steps >= 1 and seconds > 0, "
                f"got tiles {self.tiles}, side {self.side}, steps {self.steps}, seconds {self.seconds}; "
                "for example --tiles 1,8,64"
            )
        for name in self.methods:
            find(name)

    def command(self, program: str) -> str:
        """Return the command that measures this again."""
        words = [program, command("--device", self.device), f"--tiles {','.join(map(str, self.tiles))}"]
        words += [f"--side {self.side}", f"--steps {self.steps}"]
        words += [f"--seconds {self.seconds:g}"] if self.seconds else []
        words += [f"--seed {self.seed}"] if self.seed else []
        return " ".join([*words, *(command("--method", name) for name in self.methods)])


@dataclass(frozen=True, kw_only=True)
class SpeedRow:
    """What one method takes for so many tiles at once; None where a number makes no sense or was not measured.

    Args:
        name: Of the method.
        tiles: Restored together.
        side: Of a tile.
        step_seconds: Of a step of all tiles.
        tile_step_seconds: Of one tile and step.
        flop: Floating-point operations of one tile and step.
        megapixel_seconds: Where there are no steps: of a million observed voxels.
        launches: Of a step; of the whole where there are no steps, and so the next two.
        host_reads: Times the host waited for values.
        host_drawn_bytes: Of random numbers drawn on the host.
        peak_bytes: Most memory of the device that was taken.
        refused: Why there is nothing.
    """

    name: str
    tiles: int
    side: int
    step_seconds: float | None = None
    tile_step_seconds: float | None = None
    flop: float | None = None
    megapixel_seconds: float | None = None
    launches: float | None = None
    host_reads: float | None = None
    host_drawn_bytes: float | None = None
    peak_bytes: int | None = None
    refused: str = ""

    @property
    def tflops(self) -> float | None:
        """Return 1e12 operations a second."""
        if self.flop is None or self.tile_step_seconds is None:
            return None
        return self.flop / self.tile_step_seconds / 1e12


def blank_rows(wishes: SpeedWishes) -> list[SpeedRow]:
    """Return what is to be measured, in order: all methods at one number of tiles, then at the next."""
    found = [SpeedRow(name=name, tiles=n, side=wishes.side) for n in wishes.tiles for name in wishes.methods or METHODS]
    if wishes.methods:
        return found
    sizes = [(1, 4 * wishes.side), (1, 16 * wishes.side), *((n, wishes.side) for n in wishes.tiles)]
    return [SpeedRow(name=APPLIED, tiles=n, side=side) for n, side in sizes] + found


def measured_rows(wishes: SpeedWishes) -> Iterator[SpeedRow]:
    """Measure and yield row by row; one that fails, or for which there is no time, says so and the rest goes on."""
    device = device_of(wishes.device)
    make_repeatable(torch.get_num_threads())
    until = time.monotonic() + (wishes.seconds or float("inf"))
    rates: dict[str, float] = {}
    for blank in blank_rows(wishes):
        reckoned = rates.get(blank.name, 0) * blank.tiles * blank.side**2 / 1e6
        if time.monotonic() > until:
            yield replace(blank, refused="out of time")
        elif reckoned > LONGEST:
            yield replace(blank, refused=f"left out: some {reckoned:.0f} s, by its rate with fewer tiles")
        else:
            row = _measured(blank, wishes, device)
            rates |= {row.name: row.megapixel_seconds} if row.megapixel_seconds else {}
            yield row


def problem_of(entry: Entry, tiles: int, side: int, seed: int) -> Problem:
    """Return noisy tiles with slopes and edges, on the CPU; stacks, or coarser ones, for methods that need such."""
    generator = torch.Generator().manual_seed(seed)
    hills = F.interpolate(torch.rand((tiles, 1, 8, 8), generator=generator), (side, side), mode="bicubic")
    clean = (hills + (hills > 0.5)) / 2
    seen = clean + STD * torch.randn(clean.shape, generator=generator)
    if "stack" in entry.needs:
        seen = torch.stack([seen.roll(n, -1) for n in range(PLANES)], 2)
    operator = None if "denoise" in entry.tasks else Imaging(kernel_of("bicubic", (2, 2)), (2, 2))
    return Problem(observed=seen, noise=(Noise(read_std=STD),), operator=operator, value_range=(-0.5, 1.5))


@dataclass(frozen=True, kw_only=True)
class Work:
    """One method and its tiles, on their device.

    Args:
        entry: The method.
        problem: The tiles.
        start: Weights to begin from, where the method needs some.
        seed: Of the streams.
    """

    entry: Entry
    problem: Problem
    start: Weights | None
    seed: int

    @classmethod
    def of(cls, row: SpeedRow, seed: int, device: torch.device) -> "Work":
        """Return the work of a row."""
        entry = find("adapted" if row.name == APPLIED else row.name)
        problem = problem_of(entry, row.tiles, row.side, seed)
        there = replace(problem, observed=problem.observed.to(device))
        return cls(entry=entry, problem=there, start=_start_of(entry), seed=seed)

    @property
    def device(self) -> torch.device:
        """Return where the tiles lie."""
        return self.problem.observed.device

    @property
    def usual(self) -> fit.Strategy:
        """Return how plans compute tiles on such a device."""
        return "grouped" if self.device.type == "cuda" else "sequential"

    def restored(self, steps: int | None = None, *, strategy: fit.Strategy = "grouped") -> tuple[int, ...]:
        """Restore the tiles, and return how many steps each made."""
        method = self.entry.method if steps is None else configure(self.entry, {"steps": steps}).method
        return fit.restore(method, self.problem, self._streams(), start=self.start, strategy=strategy).steps

    def applied(self) -> Tensor:
        """Return the images that the weights make of the tiles."""
        assert self.start is not None
        return fit.predict(self.entry.method, self.problem, self.start, self._streams())

    def _streams(self) -> Streams:
        return Streams.of(self.seed, self.entry.name, [(n,) for n in range(len(self.problem.observed))])


def _start_of(entry: Entry) -> Weights | None:
    if "weights" not in entry.needs:
        return None
    # Only here is safetensors needed.
    from ilcore.adapting.weights import SHIPPED, load_denoiser

    return load_denoiser(SHIPPED)[1]


def _measured(row: SpeedRow, wishes: SpeedWishes, device: torch.device) -> SpeedRow:
    free(device)
    try:
        work = Work.of(row, wishes.seed, device)
        if row.name == APPLIED or not work.entry.method.budget:
            return _of_whole(row, work, work.applied if row.name == APPLIED else work.restored)
        return replace(_of_steps(row, work, wishes.steps), flop=_flop_of_step(row.name, row.side, wishes.seed))
    except Exception as error:
        # Nothing that one method does may end the measurement: the row says it.
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        return replace(
            row, refused="out of memory" if is_out_of_memory(error) else f"{type(error).__name__}: {said[:200]}"
        )


def _of_whole(row: SpeedRow, work: Work, whole: Callable[[], object]) -> SpeedRow:
    """Return the row of what makes no steps, done once before it is timed."""
    counts = _counts_of(whole, row, work.device)
    forget_peak(work.device)
    _, taken = timed(whole, work.device)
    megapixels = work.problem.observed.numel() / 1e6
    row = replace(row, megapixel_seconds=taken / megapixels, peak_bytes=peak_bytes(work.device))
    return _with(row, counts, 1)


def _of_steps(row: SpeedRow, work: Work, steps: int) -> SpeedRow:
    """Return the row of what makes steps: a short run and a longer one, both once counted and once timed.

    They are counted as a GPU is asked, all tiles together, and timed as plans compute on the device.
    """
    first = _counts_of(partial(work.restored, FEW), row, work.device)
    forget_peak(work.device)
    made, tile_steps, taken = _difference(work, steps)
    row = replace(row, peak_bytes=peak_bytes(work.device))
    if first is not None:
        last = _counts_of(partial(work.restored, FEW + steps), row, work.device)
        row = _with(row, last - first if last else None, max(made, 1))
    if made < 1 or taken <= 0:
        return replace(row, refused=f"the clock told nothing of {made} steps; ask for more --steps")
    return replace(row, step_seconds=taken / made, tile_step_seconds=taken / tile_steps)


def _difference(work: Work, steps: int) -> tuple[int, int, float]:
    """Return by how many steps, steps of a tile and seconds a longer run is longer; tried again where it is not."""
    short, long = (partial(work.restored, n, strategy=work.usual) for n in (FEW, FEW + steps))
    short_seconds = long_seconds = math.inf
    for _ in range(TRIES):
        few, seconds = timed(short, work.device)
        more, more_seconds = timed(long, work.device)
        short_seconds, long_seconds = min(short_seconds, seconds), min(long_seconds, more_seconds)
        if long_seconds > short_seconds:
            break
    return max(more) - max(few), sum(more) - sum(few), long_seconds - short_seconds


def _counts_of(work: Callable[[], object], row: SpeedRow, device: torch.device) -> Counts | None:
    """Do a work and return what was counted; of many tiles nothing is."""
    if row.tiles > COUNTED_TILES:
        work()
        return None
    with counted(device) as counts:
        work()
    return counts


def _with(row: SpeedRow, counts: Counts | None, steps: int) -> SpeedRow:
    if counts is None:
        return row
    return replace(
        row,
        launches=counts.launches / steps,
        host_reads=counts.host_reads / steps,
        host_drawn_bytes=counts.host_drawn_bytes / steps,
    )


@lru_cache(maxsize=256)
def _flop_of_step(name: str, side: int, seed: int) -> float | None:
    """Return the operations of one tile and step, as torch's counter knows them; None where it fails."""
    work = Work.of(SpeedRow(name=name, tiles=1, side=side), seed, torch.device("cpu"))
    found = []
    for steps in FLOP_STEPS:
        try:
            with FlopCounterMode(display=False) as counter:
                work.restored(steps)
        except Exception:
            # What the clock told stands without it.
            return None
        found.append(counter.get_total_flops())
    return (found[1] - found[0]) / (FLOP_STEPS[1] - FLOP_STEPS[0])
