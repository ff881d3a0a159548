"""A device that is too small changes nothing but the size of a batch; one that is far too small is told of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ilcore.grammar.arrays import Streams
from ilcore.grammar.devices import is_out_of_memory
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import DirectMethod
from ilcore.grammar.step_context import Restoration
from ilcore.grammar.stop_reason import StopReason
from ilcore.methods.catalogue import METHODS
from ilcore.methods.classical import nearest_data
from ilcore.planning.plan import RestorationPlan
from ilcore.running import attempts
from ilcore.running.carry_out import carry_out
from ilcore.running.patches import patch_of
from ilcore.running.run import Run
from ilcore.running.volume_model import keep_start_weights
from tests.claimed_device import claimed_device
from tests.scenes import noisy, scene
from tests.standins import add_standins, assembled, planned, saved


@pytest.fixture(autouse=True)
def standins(monkeypatch: pytest.MonkeyPatch) -> None:
    add_standins(monkeypatch)


def four_tiles(folder: Path, name: str) -> RestorationPlan:
    folder.joinpath(name).mkdir()
    source = saved(folder, np.asarray(noisy(scene("cells", (48, 48)), std=0.05)))
    plan = planned(source, folder / name / "out.ome.zarr", "box", tile=(1, 24, 24))
    return plan.model_copy(update={"grid": plan.grid.model_copy(update={"unit": (1, 2, 2)})})


def too_small_for(most: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    whole = attempts._by_method

    def limited(bench: Any, tiles: Sequence[Any], frames: Sequence[Any]) -> Any:
        sizes.append(len(tiles))
        if len(tiles) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return whole(bench, tiles, frames)

    monkeypatch.setattr(attempts, "_by_method", limited)
    return sizes


@pytest.mark.medium
def test_batches_are_halved_until_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = four_tiles(tmp_path, "roomy")
    carry_out(plan)
    sizes = too_small_for(1, monkeypatch)
    narrow = four_tiles(tmp_path, "narrow")
    carry_out(narrow)
    assert sizes == [4, 2, 1, 1, 1, 1], "what fits is remembered"
    np.testing.assert_array_equal(assembled(narrow), assembled(plan))


@pytest.mark.medium
def test_a_tile_that_fits_nowhere_falls_back_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    too_small_for(0, monkeypatch)
    plan = four_tiles(tmp_path, "none")
    carry_out(plan)
    rows = list(Run.of(plan).ledger.rows())
    assert [(row["status"], row["used"], row["reason"]) for row in rows] == [("fell back", "classical", "memory")] * 4


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_only_memory_is_taken_for_memory(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory


def test_holes_take_the_nearest_data() -> None:
    seen = np.array([[[1, 0, 0, 0, 9]]], np.float32)
    trusted = np.array([[[True, False, False, True, True]]])
    seen[0, 0, 3] = 5
    assert nearest_data(seen, trusted).tolist() == [[[1, 1, 5, 5, 9]]]
    assert nearest_data(seen, np.zeros_like(trusted)) is seen


@dataclass(frozen=True)
class Averaged(DirectMethod):
    """A mean of neighbours that says how far the images it averaged lay apart: a tenth, more to the right."""

    def halo(self, space: int) -> tuple[int, ...]:
        return (0,) * space

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        yield from ()

    def restore(self, problem: Problem, streams: Streams, *, start=None) -> Restoration:
        image = F.avg_pool2d(problem.observed, 3, 1, 1, count_include_pad=False)
        apart = 0.1 + torch.arange(image.shape[-1]) / image.shape[-1]
        count = len(image)
        return Restoration(
            image, (0,) * count, (StopReason.applied("applied"),) * count, spread=apart.expand_as(image).clone()
        )


@pytest.mark.medium
def test_the_spread_of_what_was_averaged_is_known_of_every_tile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "averaged", replace(METHODS["box"], name="averaged", method=Averaged()))
    source = saved(tmp_path, np.asarray(noisy(scene("cells", (48, 48)), std=0.05)))
    plan = planned(source, tmp_path / "out.ome.zarr", "averaged", tile=(1, 24, 48))
    carry_out(plan)
    spread = Run.of(plan).ledger.read("spread")
    np.testing.assert_allclose(spread, 0.1 + 47 / 96, rtol=1e-5)
    other = planned(source, tmp_path / "box.ome.zarr", "box", tile=(1, 24, 48))
    carry_out(other)
    assert np.isnan(Run.of(other).ledger.read("spread")).all()


@pytest.mark.medium
@pytest.mark.parametrize(("device", "calls"), [("cpu", 4), ("cuda:0", 1)])
def test_a_gpu_applies_weights_to_all_tiles_of_a_unit_at_once(
    device: str, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(tmp_path, np.asarray(noisy(scene("cells", (32, 32)), std=0.05)))
    plan = planned(
        source, tmp_path / "out.ome.zarr", "adapted", scope="volume", tile=(1, 16, 16), overrides={"steps": 0}
    )
    plan = plan.model_copy(update={"grid": plan.grid.model_copy(update={"unit": (1, 2, 2)}), "tile_steps": 0})
    made, predict = [], attempts.fit.predict
    monkeypatch.setattr(attempts.fit, "predict", lambda *given: (made.append(predict(*given)), made[-1])[1])
    run = Run.of(plan)
    keep_start_weights(run)
    bench = attempts.WorkerContext.of(run, device)
    tiles = list(plan.tile_grid.unit_of((0, 0, 0, 0)).tiles)
    frames = [patch_of(run.source, tile.read, plan) for tile in tiles]
    with claimed_device():
        images = [attempt.image for attempt in attempts.first_attempts(bench, tiles, frames)]
    assert [len(image) for image in made] == [4 // calls] * calls
    for tile, frame, image in zip(tiles, frames, images, strict=True):
        alone = attempts.first_attempts(replace(bench, device="cpu"), [tile], [frame])[0].image
        np.testing.assert_allclose(image, alone, atol=1e-5)
