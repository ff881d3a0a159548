"""A real Dask cluster of two worker processes."""

import errno
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from dask import config as dask_config
from distributed import Client, Nanny, Scheduler, Security, SpecCluster

from ilcore.grammar.errors import BadInput, BadVolume, BadWeights, ClusterError
from ilcore.grammar.surroundings import is_outside
from tasks.executors.cluster import Cluster, Resources, default_workers, open_cluster
from tasks.executors.shutdown import OutOfTime, is_asked, is_late, until
from tests.integration.cluster_work import flaky, note, refuse, threads, unreadable, where


@pytest.fixture(scope="module")
def ports_before() -> set[int]:
    """Ports that other tests' servers, which live as long as this process, hold open."""
    return listening()


@pytest.fixture(scope="module")
def cluster(ports_before: set[int]) -> Iterator[Cluster]:
    with open_cluster(Resources(workers=2, device="cpu")) as opened:
        yield opened


def listening() -> set[int]:
    """Return the ports on which this process and its children listen."""
    return {
        each.laddr.port
        for process in (psutil.Process(), *psutil.Process().children(recursive=True))
        for each in process.net_connections("inet")
        if each.status == psutil.CONN_LISTEN
    }


def test_every_item_is_reported_once(cluster: Cluster, tmp_path: Path) -> None:
    reports = list(cluster.spread(note, [(str(tmp_path), n) for n in range(20)]))
    assert sorted(number for number, _ in reports) == list(range(20))


def test_work_survives_a_worker_that_is_killed_twice(cluster: Cluster, tmp_path: Path) -> None:
    done, killed = [], []
    for number, process in cluster.spread(note, [(str(tmp_path), n) for n in range(40)]):
        done.append(number)
        if len(done) in (5, 15):
            os.kill(process, signal.SIGKILL)
            killed.append(process)
    assert len(killed) == 2
    assert sorted(done) == list(range(40))


@pytest.mark.parametrize(("code", "from_outside"), [(errno.EIO, True), (errno.ENOENT, False)])
def test_whose_fault_it_was_is_known_to_the_driver_too(code: int, from_outside: bool, cluster: Cluster) -> None:
    with pytest.raises(BadVolume, match="can be read") as raised:
        cluster.alone(unreadable, code)
    assert is_outside(raised.value) == from_outside


def test_work_is_read_lazily_in_a_bounded_window(cluster: Cluster, tmp_path: Path) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[tuple[str, int]]:
        for number in range(30):
            taken.append(number)
            yield str(tmp_path), number

    reports = cluster.spread(note, jobs())
    next(reports)
    assert len(taken) <= 3 * 2 + 1
    reports.close()


def test_when_time_is_over_what_is_at_work_is_finished_and_nothing_begun(cluster: Cluster, tmp_path: Path) -> None:
    done: list[int] = []

    def work() -> None:
        for number, _ in cluster.spread(note, [(str(tmp_path), n) for n in range(400)]):
            done.append(number)

    with until(1.0), pytest.raises(OutOfTime, match="il resume"):
        work()
    begun = {int(path.name.partition("-")[0]) for path in tmp_path.iterdir()}
    assert 0 < len(done) < 200
    assert begun == set(done)
    assert not is_asked()
    assert len(list(cluster.spread(note, [(str(tmp_path), n) for n in range(3)]))) == 3


def test_the_shortest_time_counts() -> None:
    with until(0.0):
        with until(60.0), until(None):
            assert is_late()
        assert is_asked()
    assert not is_late()


def test_an_error_of_ours_is_not_tried_again(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="bring others"):
        cluster.alone(refuse, str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_store_that_times_out_is_tried_again(cluster: Cluster, tmp_path: Path) -> None:
    assert cluster.alone(flaky, str(tmp_path)) == "done"


def test_what_restores_runs_on_one_kind_of_device_and_what_moves_voxels_anywhere() -> None:
    nanny: dict[str, Any] = {"cls": Nanny, "options": {"nthreads": 1, "dashboard_address": "127.0.0.1:0"}}
    gpu = {**nanny, "options": {**nanny["options"], "resources": {"GPU": 1}}}
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    with (
        SpecCluster(scheduler=scheduler, workers={"gpu": gpu, "cpu": nanny}, silence_logs=50) as mixed,
        open_cluster(Resources(scheduler=mixed.scheduler_address)) as cluster,
    ):
        mixed.wait_for_workers(2)
        assert len(set(cluster.spread(where, [0.2] * 12))) == 1
        assert len(set(cluster.spread(where, [0.2] * 12, anywhere=True))) == 2


def test_workers_compute_on_one_thread(cluster: Cluster) -> None:
    assert cluster.alone(threads, 0) == "1"


def test_a_running_scheduler_can_be_joined(cluster: Cluster, tmp_path: Path) -> None:
    with open_cluster(Resources(scheduler=cluster.client.scheduler.address)) as joined:
        assert joined.workers == 2
        assert joined.alone(note, (str(tmp_path), 7))[0] == 7
    assert cluster.alone(note, (str(tmp_path), 8))[0] == 8, "leaving a cluster must not stop it"


def test_a_cluster_of_ones_own_lets_nobody_in(cluster: Cluster, ports_before: set[int]) -> None:
    ports = listening() - ports_before
    assert len(ports) >= 5
    plain = cluster.address.replace("tls", "tcp")
    for address, keys in ((cluster.address, Security.temporary()), (plain, Security())):
        with pytest.raises(OSError, match=r"TLS certificate|[Tt]imed out|connect|reset"):
            Client(address, security=keys, timeout="3s", set_as_default=False)
    for port in ports:
        for path in ("health", "status", "json/counts.json", "api/v1/get_workers", "metrics"):
            with pytest.raises(OSError, match=r"404|reset|closed"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10)


def test_a_scheduler_whose_certificate_is_not_known_is_told() -> None:
    with (
        dask_config.set({"distributed.comm.tls.ca-file": None}),
        pytest.raises(BadInput, match="wants certificates"),
        open_cluster(Resources(scheduler="tls://127.0.0.1:9")),
    ):
        pass


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"workers": -1}, "workers must be >= 0, got -1"),
        ({"device": "tpu"}, "got 'tpu'"),
        ({"scheduler": "head"}, "address like tcp://"),
    ],
)
def test_nonsense_resources_are_refused(wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        Resources(**wrong)


def test_a_scheduler_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(ClusterError, match="no answer from tcp://127.0.0.1:9"),
        open_cluster(Resources(scheduler="tcp://127.0.0.1:9")),
    ):
        pass


def test_default_is_a_worker_a_core() -> None:
    assert default_workers("cpu") == len(os.sched_getaffinity(0))
