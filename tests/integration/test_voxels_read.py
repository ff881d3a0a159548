"""How often a voxel is read from planning to publishing: counted, not timed, so that it cannot grow unseen."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from ilcore.grammar.region import voxels
from ilcore.planning.cost import work_of
from ilcore.planning.make import plan_restoration
from ilcore.planning.plan import RestorationPlan
from ilcore.running.carry_out import carry_out
from ilcore.volumes.volume import Volume
from tests.scenes import noisy, scene


def planned(folder: Path, shape: tuple[int, ...]) -> RestorationPlan:
    clean = np.resize(np.tile(scene("cells", (128, 128)), (1, -(-shape[-1] // 128)))[:, : shape[-1]], shape)
    np.save(folder / "seen.npy", noisy(clean, std=0.1, seed=0).astype("f4"))
    source, target = str(folder / "seen.npy"), str(folder / "out.ome.zarr")
    return plan_restoration(source, target, axes="zyx"[-len(shape) :], method="wavelet", noise_std=0.1)


@contextmanager
def counted() -> Iterator[list[int]]:
    """Collect how many voxels every read takes."""
    seen, read = [], Volume.read

    def noted(volume: Volume, region):
        seen.append(voxels(region))
        return read(volume, region)

    with mock.patch.object(Volume, "read", noted):
        yield seen


@pytest.mark.parametrize("shape", [(600, 600), (12, 128, 128)])
def test_a_run_reads_a_voxel_a_few_times_beside_its_tiles(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Digest before and after, neighbours for the judge, the report, pyramid and verdict: never once a check."""
    total = math.prod(shape)
    with counted() as planning:
        plan = planned(tmp_path, shape)
    with counted() as run:
        carry_out(plan)
    tiles = work_of(plan).read_per_written
    assert sum(planning) <= 6 * total
    assert tiles <= 1.6
    assert tiles * total <= sum(run) <= (tiles + 6) * total


def test_planning_a_larger_volume_reads_less_of_it(tmp_path: Path) -> None:
    shares = []
    for side in (384, 1024):
        (tmp_path / str(side)).mkdir()
        with counted() as planning:
            planned(tmp_path / str(side), (side, side))
        shares.append(sum(planning) / side**2)
    assert shares[1] < 0.7 * shares[0], shares
