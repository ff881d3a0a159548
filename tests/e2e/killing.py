"""Carries out a plan again and again, killed at a chosen moment each time, then once more to its end.

Run by test_kill.py in a process of its own, which imports everything once and forks a child for each run:

    killing.py PLAN FOLDER  ->  one JSON line per case
"""

import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilcore import fit_state
from ilcore.descents.adam import Adam
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveNetwork, Network
from ilcore.losses.fidelity import SquaredError
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import Entry
from ilcore.planning.plan import RestorationPlan, read_plan
from ilcore.readouts.last import Last
from ilcore.running import carry_out as alone
from ilcore.running.run import Run
from ilcore.running.tile_record import STATUS
from ilcore.running.workspace import Workspace
from ilcore.stops.budget import After
from ilcore.views.hidden_grid import HiddenGrid

#: Places where a run is killed: before the n-th file whose path holds these words gets its name.
PLACES = (
    ("weights/volume.safetensors", 1), ("weights/volume.json", 1), ("ledger.zarr", 1), ("scratch.zarr/c/", 2),
    ("ledger.zarr/tiles/c/", 2), ("ledger.zarr/tiles/c/", 3), ("staging.ome.zarr/0/c/", 2),
    ("ledger.zarr/blocks/c/", 1), ("null-test.json", 1), ("record.json", 1), ("staging.ome.zarr/zarr.json", 1),
    ("publish.json", 1), ("/out.ome.zarr", 1), ("publish.json", 2), ("record.json", 2),
)  # fmt: skip
#: Updates of the model of the volume after which it is killed.
LEARNING = (1, 4)
#: Kills at any file operation; `make e2e` asks for many.
RANDOM = int(os.environ.get("IL_CRASHES", "3"))


@dataclass(frozen=True)
class Smoothing(Network):
    """A mixture of every voxel and the mean around it; how much of which is learnt."""

    def build(self, problem: Any, channels: int, streams: Any, *, shared: bool = False) -> LiveNetwork:
        return _Smoothing(1 if shared else len(streams))

    def halo(self, space: int) -> tuple[int, ...]:
        return (0, 2, 2)[-space:]


class _Smoothing(LiveNetwork):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.ones(count, 1))

    def forward(self, seen: Tensor, rows: Any) -> Tensor:
        planes = seen.reshape(-1, 1, *seen.shape[-2:])
        mean = F.avg_pool2d(planes, 5, 1, 2, count_include_pad=False).reshape(seen.shape)
        chosen = self.share if len(self.share) == 1 else self.share[list(rows)]
        share = torch.sigmoid(chosen).reshape(-1, *(1,) * (seen.ndim - 1))
        return share * mean + (1 - share) * seen


#: Made here so that pretrained weights and long fits are not what a kill is waited for.
SMOOTHING = Entry(
    name="smoothing",
    method=Recipe(HiddenGrid(), Smoothing(), SquaredError(), Adam(1e-1), After(6), Last()),
    summary="stand-in",
    question="?",
    when="in tests",
    reference="tests",
    cost=0,
)


@dataclass(frozen=True)
class Moment:
    """When to kill: before the n-th update of a fit, or before the n-th file operation on a kind of path."""

    what: str
    number: int


def main(plan_path: str, folder: str) -> None:
    # Torch imports its compiler when the first optimiser is made: seconds that every child would pay.
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    plan = read_plan(Path(plan_path))
    operations = _whole(plan, Path(folder) / "whole")
    for moment in moments(plan, operations):
        print(json.dumps(_told(plan, Path(folder) / f"{moment.what} {moment.number}".replace("/", "_"), moment)))


def _told(plan: RestorationPlan, case: Path, moment: Moment) -> dict[str, Any]:
    there = _at(plan, case)
    killed = _forked(lambda: _killed(there, moment))
    return {"case": case.name, "killed": killed, **_resumed(there, case)}


def moments(plan: RestorationPlan, operations: int) -> Iterator[Moment]:
    """Yield when a run of a plan is killed; where nothing is learnt, there is nothing to be killed at."""
    learns = plan.scope == "volume"
    yield from (Moment("learning", number) for number in (LEARNING if learns else ()))
    yield from (Moment(*place) for place in PLACES if learns or "weights" not in place[0])
    drawn = random.Random(7).sample(range(1, operations + 1), RANDOM)
    yield from (Moment("any", number) for number in drawn)


def _at(plan: RestorationPlan, case: Path) -> RestorationPlan:
    return plan.model_copy(update={"target": str(case / "out.ome.zarr")})


def _whole(plan: RestorationPlan, case: Path) -> int:
    """Carry the plan out undisturbed, and return how many file operations that takes."""

    def work() -> None:
        seen = []
        _watch(case, lambda path: seen.append(path))
        alone.carry_out(_at(plan, case))
        count = len(seen)
        (case / "operations").write_text(str(count))

    status = _forked(work)
    assert status == 0, status
    return int((case / "operations").read_text())


def _killed(plan: RestorationPlan, moment: Moment) -> None:
    left = moment.number

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if moment.what == "learning":
        noted = fit_state.FitState.noted
        fit_state.FitState.noted = lambda *given: (count(), noted(*given))[1]
    else:
        _watch(Path(plan.target).parent, lambda path: count() if moment.what == "any" or moment.what in path else None)
    alone.carry_out(plan)


def _resumed(plan: RestorationPlan, case: Path) -> dict[str, Any]:
    """Carry out what was killed, and say what was done again."""

    def work() -> None:
        before = _done(plan)
        restored, learnt = _counted("restore_unit"), _counted("learn_volume_model")
        verdict = alone.carry_out(plan).verdict
        units = len(restored)
        again = alone.carry_out(plan).verdict
        after = _done(plan)
        found = {
            "verdict": verdict, "done_before": len(before), "restored": units, "tiles": len(after),
            "kept": all(after[index] == seconds for index, seconds in before.items()),
            "afterwards": [again == verdict, len(restored) - units, len(learnt)],
        }  # fmt: skip
        (case / "found.json").write_text(json.dumps(found))

    status = _forked(work)
    return {"status": status, **(json.loads((case / "found.json").read_text()) if status == 0 else {})}


def _counted(name: str) -> list[Any]:
    calls: list[Any] = []
    function = getattr(alone, name)
    setattr(alone, name, lambda *given, **more: (calls.append(given), function(*given, **more))[1])
    return calls


def _done(plan: RestorationPlan) -> dict[str, Any]:
    """Return the seconds that each finished tile took."""
    workspace = Workspace.of(plan.target)
    if not workspace.ledger.exists():
        return {}
    rows = Run(plan, workspace).ledger.rows()
    return {str(row["tile"]): row["seconds"] for row in rows if row["status"] != STATUS[0]}


def _watch(folder: Path, told: Callable[[str], Any]) -> None:
    """Tell of every file that gets its name or is removed, just before it does."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" or event == "shutil.rmtree":
            path = os.fspath(arguments[1 if event == "os.rename" else 0])
            if str(path).startswith(str(folder)):
                told(str(path))

    sys.addaudithook(hook)


def _forked(work: Callable[[], None]) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _worked(work)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _worked(work: Callable[[], None]) -> NoReturn:
    try:
        work()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    METHODS[SMOOTHING.name] = SMOOTHING
    main(*sys.argv[1:])
