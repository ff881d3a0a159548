"""Clusters that a run starts by a file: real job scripts of SLURM and PBS, in a queue of this machine's own."""

import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import psutil
import pytest
import yaml

from ilcore.grammar.errors import BadInput, ClusterError, ILError
from tasks.executors.cluster import Resources, open_cluster
from tasks.executors.clusters import read_cluster
from tests.integration.cluster_work import where
from tests.servers import until
from tests.sshd import SSHServer

#: What stands in for a queue's own commands: the job script that dask-jobqueue writes runs here, at once.
SUBMIT = """#!{python}
import subprocess, sys
log = open("{log}", "a")
job = subprocess.Popen(["bash", sys.argv[-1]], start_new_session=True, stdout=log, stderr=log)
open("{log}.ids", "a").write(f"{{job.pid}}\\n")
print({answer})
"""
CANCEL = """#!{python}
import os, signal, sys
job = sys.argv[-1].split(".")[0]
# Nothing but what was started here is ever ended.
if os.path.exists("{log}.ids") and job in open("{log}.ids").read().split():
    try:
        os.killpg(int(job), signal.SIGTERM)
    except ProcessLookupError:
        pass
"""
#: Of each queue: its command to submit, what that prints, and its command to cancel.
QUEUES = {
    "slurm": ("sbatch", '"Submitted batch job", job.pid', "scancel"),
    "pbs": ("qsub", 'f"{job.pid}.head"', "qdel"),
}


@pytest.fixture(params=QUEUES)
def queue(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cluster file for a queue whose only machine is this one."""
    commands, (submit, answer, cancel) = tmp_path / "bin", QUEUES[request.param]
    commands.mkdir()
    for name, text in ((submit, SUBMIT), (cancel, CANCEL)):
        script = commands / name
        script.write_text(text.format(python=sys.executable, log=tmp_path / "jobs.log", answer=answer))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    yield cluster_file(
        tmp_path, kind=request.param, maximum=2, patience_minutes=4,
        options={
            "cores": 1, "processes": 1, "memory": "1GB", "queue": "night", "walltime": "00:10:00",
            "python": sys.executable, "job_extra_directives": ["--comment=none"], "log_directory": str(tmp_path),
            "local_directory": str(tmp_path), "job_script_prologue": ["export OMP_NUM_THREADS=1"],
            "scheduler_options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
            # A worker that finds no scheduler in this time ends, and nobody starts it again: busy machines are slow.
            "death_timeout": 240,
        },
    )  # fmt: skip
    # Shown where a test fails.
    print((tmp_path / "jobs.log").read_text() if (tmp_path / "jobs.log").exists() else "no job was ever started")


def cluster_file(folder: Path, **content: object) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def over_ssh(folder: Path, server: SSHServer, key: Path) -> Path:
    return cluster_file(
        folder, kind="ssh",
        options={
            "hosts": ["127.0.0.1"] * 3, "remote_python": sys.executable,
            "connect_options": {"port": server.port, "known_hosts": None, "client_keys": [str(key)]},
            "scheduler_options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"},
            "worker_options": {"nthreads": 1, "dashboard_address": "127.0.0.1:0"},
        },
    )  # fmt: skip


def jobs(folder: Path) -> list[psutil.Process]:
    """Return the workers that run for a queue."""
    found = []
    for each in psutil.process_iter(["cmdline"]):
        words = " ".join(each.info["cmdline"] or ())
        if "dask_worker" in words and str(folder) in words:
            found.append(each)
    return found


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_a_queue_gives_workers_loses_one_and_is_left_empty(queue: Path, tmp_path: Path) -> None:
    with open_cluster(Resources(scheduler=str(queue), device="cpu")) as cluster:
        done = []
        for pid in cluster.spread(where, [0.2] * 80):
            done.append(pid)
            if len(done) == 10:
                # One job ends as if its machine had died.
                os.kill(jobs(tmp_path)[0].pid, signal.SIGKILL)
        assert len(done) == 80
        assert len(set(done)) >= 2, "the lost one was followed by another"
    end = time.monotonic() + 60
    while jobs(tmp_path) and time.monotonic() < end:
        time.sleep(0.5)
    assert jobs(tmp_path) == [], (tmp_path / "jobs.log").read_text()[-2000:]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_machines_reached_by_ssh_work_and_are_left_empty(tmp_path: Path) -> None:
    with SSHServer(tmp_path, {"PYTHONPATH": str(Path(__file__).parents[2])}) as server:
        file = over_ssh(tmp_path, server, server.key)
        with open_cluster(Resources(scheduler=str(file), device="cpu")) as cluster:
            assert len(server.running) == 3, "a scheduler and two workers"
            assert len(set(cluster.spread(where, [0.2] * 40))) == 2
        until(lambda: not server.running, 30, "all that was started over SSH has ended")


def test_a_machine_that_lets_nobody_in_is_told(tmp_path: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "stranger")
    with SSHServer(tmp_path, {}) as server:
        file = over_ssh(tmp_path, server, tmp_path / "stranger")
        with (
            pytest.raises(ClusterError, match="kind ssh must start, got"),
            open_cluster(Resources(scheduler=str(file))),
        ):
            raise AssertionError("nobody was let in")


@pytest.mark.slow
@pytest.mark.timeout(480)
@pytest.mark.parametrize("queue", ["slurm"], indirect=True)
def test_a_queue_gives_more_workers_where_there_is_more_work(queue: Path) -> None:
    with open_cluster(Resources(scheduler=str(queue), device="cpu")) as cluster:
        assert cluster.workers == 1
        assert len(set(cluster.spread(where, [4.0] * 12))) == 2


@pytest.mark.parametrize("queue", ["slurm"], indirect=True)
def test_a_queue_that_gives_nobody_is_not_waited_for_all_night(queue: Path, tmp_path: Path) -> None:
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho Submitted batch job 999999999\n")
    told = yaml.safe_load(queue.read_text()) | {"patience_minutes": 0.05}
    queue.write_text(yaml.safe_dump(told))
    with pytest.raises(ILError, match="got none from slurm"), open_cluster(Resources(scheduler=str(queue))):
        raise AssertionError("nobody came")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"kind": "lsf"}, "kind"),
        ({"kind": "slurm", "minimum": 5, "maximum": 2}, "minimum must be <= maximum"),
        ({"kind": "slurm", "queue": "gpu"}, "queue"),
    ],
)
def test_a_file_that_makes_no_sense_is_told(content: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=words):
        read_cluster(str(cluster_file(tmp_path, **content)))


# Dask's own clean-up of a cluster that was never made complains of what is missing in it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_not_there_or_not_installed_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cluster file"), open_cluster(Resources(scheduler=str(tmp_path / "no.yaml"))):
        pass
    file = cluster_file(tmp_path, kind="cuda")
    with pytest.raises(BadInput, match="pip install dask-cuda"), open_cluster(Resources(scheduler=str(file))):
        pass
    file = cluster_file(tmp_path, kind="slurm", options={"surprise": 1})
    with pytest.raises(BadInput, match="must start"), open_cluster(Resources(scheduler=str(file))):
        pass
