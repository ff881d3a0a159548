"""Whoever carries runs out keeps one contract: this process, and a cluster of Dask."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ilcore.grammar.errors import BadVolume
from ilcore.planning.make import plan_restoration
from ilcore.running.carry_out import carry_on
from ilcore.running.executor import Executor, Local
from ilcore.running.observer import Observer
from ilcore.running.run import Run
from ilcore.running.stages import prepare
from tests.integration.cluster_work import squared, squared_on, unreadable_number
from tests.scenes import noisy, scene
from tests.standins import saved


@pytest.fixture(scope="module", params=["local", "dask"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "local":
        yield Local()
        return
    from tasks.executors.cluster import Resources, open_cluster

    with open_cluster(Resources(workers=2, device="cpu")) as cluster:
        yield cluster


def test_every_item_is_done_once(executor: Executor) -> None:
    assert sorted(executor.move(squared, range(20))) == [n * n for n in range(20)]


def test_whoever_computes_is_told_a_device(executor: Executor) -> None:
    assert sorted(executor.compute(squared_on, range(5))) == [(n * n, "cpu") for n in range(5)]


def test_nothing_to_do_is_done_at_once(executor: Executor) -> None:
    assert list(executor.move(squared, [])) == []
    assert list(executor.compute(squared_on, iter(()))) == []


def test_what_has_no_items_is_computed_once(executor: Executor) -> None:
    assert executor.once(str.upper) == "CPU"


def test_items_are_read_as_they_are_needed_and_whoever_stops_leaves_nothing(executor: Executor) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    reports = executor.move(squared, items())
    assert next(reports) in {n * n for n in range(20)}
    getattr(reports, "close", lambda: None)()
    assert len(taken) < 20
    assert sorted(executor.move(squared, range(3))) == [0, 1, 4]


def test_an_error_of_one_item_is_raised_as_what_it_is(executor: Executor) -> None:
    with pytest.raises(BadVolume, match="number 3"):
        list(executor.move(unreadable_number, range(6)))


@pytest.mark.slow
def test_a_run_leaves_the_same_files_whoever_carries_it_out(executor: Executor, tmp_path: Path) -> None:
    source = saved(tmp_path, noisy(scene("cells", (96, 128), 0), std=0.05))
    trees = []
    for name, by in (("here", Local()), ("there", executor)):
        run = Run.of(
            plan_restoration(
                str(source),
                str(tmp_path / name / "out.ome.zarr"),
                method="nlm",
                tile=(1, 64, 64),
                layers=("provenance",),
            )
        )
        with run.workspace.locked():
            prepare(run)
            carry_on(run, by, Observer())
        trees.append(tree(tmp_path / name))
    assert set(trees[0]) == set(trees[1])
    assert {"out.ome.zarr.il/report.html", "out.ome.zarr.il/qa.ome.zarr/zarr.json"} <= set(trees[0])
    others = {name for name in trees[0] if trees[0][name] != trees[1][name]}
    assert not [name for name in others if name.startswith("out.ome.zarr/") or "qa.ome.zarr" in name], others


def tree(root: Path) -> dict[str, bytes]:
    return {
        os.path.relpath(path, root): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != "lock"
    }
