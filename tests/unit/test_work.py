"""What a plan costs is counted without going through its tiles."""

from pathlib import Path

import numpy as np
import pytest

from ilcore.grammar.region import voxels
from ilcore.planning.cost import work_of
from tests.scenes import noisy, scene
from tests.standins import add_standins, planned, saved


@pytest.mark.parametrize("tile", [(2, 16, 24), (3, 100, 9)])
def test_the_work_is_that_of_all_tiles(
    tile: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_standins(monkeypatch)
    source = (noisy(scene("cells", (7, 50, 61)), std=0.05) * 1000).clip(0, 65535).astype("u2")
    plan = planned(saved(tmp_path, source), tmp_path / "out.ome.zarr", "box", tile=tile)
    tiles = list(plan.tile_grid.tiles())
    work = work_of(plan)
    assert (work.tiles, work.units, work.voxels) == (len(tiles), len(list(plan.tile_grid.units())), source.size)
    assert work.read_per_written == pytest.approx(sum(voxels(t.read) for t in tiles) / source.size)
    assert work.tile_bytes == max(voxels(t.read) for t in tiles) * plan.entry.kilobytes[1] * 1000
    assert work.seconds is None


def test_more_steps_take_longer(tmp_path: Path) -> None:
    source = saved(tmp_path, np.asarray(noisy(scene("cells", (64, 64)), std=0.05)))
    few, many = (
        work_of(planned(source, tmp_path / "out.ome.zarr", "zs_n2n", overrides={"stop.steps": steps}), timed=True)
        for steps in (10, 10_000)
    )
    assert few.seconds is not None
    assert many.seconds is not None
    assert 0 < 20 * few.seconds < many.seconds
