"""Methods that are known exactly, for tests of everything around a method.

unchanged   gives back what it sees
box         mean over a box of 5 pixels in every plane; needs a halo of 2
brighter    adds half of the range
spoilt      gives back something that is no number
sampled     box, and how far every voxel is from it as the spread
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ilcore.descents.adam import Adam
from ilcore.formats.open import open_volume
from ilcore.grammar.arrays import Streams, Tiles
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveNetwork, LiveReadout, Network, Readout
from ilcore.grammar.step_context import Predict, StepContext
from ilcore.losses.fidelity import SquaredError
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import Entry
from ilcore.planning.make import plan_restoration
from ilcore.planning.plan import RestorationPlan
from ilcore.readouts.last import Last
from ilcore.running.workspace import Workspace
from ilcore.stops.budget import After
from ilcore.views.hidden_grid import HiddenGrid

SIDE = 5


@dataclass(frozen=True)
class Known(Network):
    """A network that computes something known, whatever its weight."""

    kind: str

    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        return _Known(self.kind, 1 if shared else len(streams))

    def halo(self, space: int) -> tuple[int, ...]:
        reach = SIDE // 2 if self.kind == "box" else 0
        return (0, reach, reach)[-space:]


class _Known(LiveNetwork):
    def __init__(self, kind: str, count: int) -> None:
        super().__init__()
        self.kind, self.idle = kind, nn.Parameter(torch.zeros(count, 1))

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        if self.kind == "spoilt":
            return seen * torch.nan
        if self.kind == "brighter":
            return seen + 0.5
        return _box(seen) if self.kind == "box" else seen + 0 * self.idle.sum()


def _box(seen: Tensor) -> Tensor:
    planes = seen.reshape(-1, 1, *seen.shape[-2:])
    return F.avg_pool2d(planes, SIDE, 1, SIDE // 2, count_include_pad=False).reshape(seen.shape)


@dataclass(frozen=True)
class Apart(Readout):
    """The last image, and how far the observation is from the mean over a box as its spread."""

    @property
    def spreads_after(self) -> int:
        return 0

    def start(self, problem: Problem) -> LiveReadout:
        return _Apart(problem)


class _Apart:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def observe(self, context: StepContext, best: Set[int]) -> None:
        """Nothing is kept."""

    def result(self, rows: Sequence[int], predict: Predict) -> Tiles:
        return predict(rows)

    def spread(self, rows: Sequence[int]) -> Tiles:
        seen = self.problem.observed[list(rows)]
        return (seen - _box(seen)).abs()


def entry(kind: str) -> Entry:
    """Return a stand-in as the catalogue would hold it."""
    network, readout = (Known("box"), Apart()) if kind == "sampled" else (Known(kind), Last())
    recipe = Recipe(HiddenGrid(), network, SquaredError(), Adam(1e-3), After(0), readout)
    tasks = frozenset({"denoise", "inpaint"})
    return Entry(
        name=kind, method=recipe, summary="stand-in", question="Nothing?", when="In tests.", reference="tests", cost=0,
        tasks=tasks,
    )  # fmt: skip


def add_standins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put all stand-ins into the catalogue for one test."""
    for kind in ("unchanged", "box", "brighter", "spoilt", "sampled"):
        monkeypatch.setitem(METHODS, kind, entry(kind))


def saved(folder: Path, array: NDArray[Any], name: str = "source.npy") -> Path:
    """Write an array as .npy and return its path."""
    path = folder / name
    np.save(path, array)
    return path


def planned(source: Path, target: Path, method: str, *, sure: bool = False, **wishes: Any) -> RestorationPlan:
    """Return a plan; unless `sure`, one that does not rely on the noise estimate, so that no tile falls back."""
    plan = plan_restoration(str(source), str(target), method=method, **{"scope": "tile", **wishes})
    if sure:
        return plan
    channels = tuple(channel.model_copy(update={"confidence": 0.0}) for channel in plan.channels)
    return plan.model_copy(update={"channels": channels})


def assembled(plan: RestorationPlan) -> NDArray[Any]:
    """Return what was assembled, published or not, as t c z y x."""
    workspace = Workspace.of(plan.target)
    volume = open_volume(str(workspace.staging / "0" if workspace.staging.exists() else workspace.target))
    return volume.read(tuple((0, length) for length in volume.shape))  # type: ignore[arg-type]
