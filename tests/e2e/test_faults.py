"""What fails at night: workers, nannies, schedulers, disks, clocks, sources. The bytes are the same afterwards."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from scipy import ndimage

from tests.il import Il, digests_of, done_of, end, status_of
from tests.servers import PrefectServer, free_port, until

#: A few steps on each of sixteen tiles.
WORDS = ("--method", "adapted", "--scope", "tile", "--steps", "4", "--tile", "48,48", "--device", "cpu")
TILES = 16

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


@pytest.fixture(scope="module")
def il(prefect_server: PrefectServer) -> Il:
    return Il(prefect_server.environment)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    clean = ndimage.gaussian_filter(rng.normal(size=(192, 192)), 5)
    path = tmp_path_factory.mktemp("scan") / "scan.npy"
    np.save(path, (clean / clean.std() + rng.normal(0, 0.4, clean.shape)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def whole_run(il: Il, scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed result."""
    target = tmp_path_factory.mktemp("whole") / "out.ome.zarr"
    code, told, trouble = il("restore", scan, target, *WORDS)
    assert code == 0, told + trouble
    assert len(status_of(target)) == TILES
    return target


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@contextlib.contextmanager
def underway(il: Il, *words: object, target: Path, tiles: int = 2) -> Iterator[subprocess.Popen[str]]:
    """A run of which some tiles are done."""
    process = il.start(*words)
    try:
        until(lambda: done_of(target) >= tiles or process.poll() is not None, 300, f"{tiles} tiles are done")
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        end(process)


def told_by(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return how a process ended and what it complained about: one clear line, no traceback."""
    _, trouble = process.communicate(timeout=300)
    assert "Traceback" not in trouble, trouble
    return process.returncode, trouble


def resumed(
    il: Il, target: Path, whole_run: Path, *, most: int = TILES - 1, moved: tuple[Path, Path] | None = None
) -> None:
    """Take a run up, and see the same bytes, with nothing that was finished done again."""
    assert not target.exists()
    kept = digests_of(target)
    assert 0 < len(kept) <= most, "stopped in the middle"
    code, told, trouble = il("resume", target)
    assert code == 0, told + trouble
    found = tree(target)
    if moved:
        # The result says which source it was made of.
        found["zarr.json"] = found["zarr.json"].replace(*(str(path).encode() for path in moved))
    assert found == tree(whole_run)
    again = digests_of(target)
    assert all(again[place] == digest for place, digest in kept.items())


@dataclass
class Nodes:
    """A Dask scheduler and workers under nannies, each in a process group of its own."""

    address: str
    scheduler: subprocess.Popen[bytes]
    nannies: list[subprocess.Popen[bytes]]

    def worker_of(self, nanny: int) -> psutil.Process:
        """Return the process that computes, of a nanny."""

        def found() -> psutil.Process | None:
            children = psutil.Process(self.nannies[nanny].pid).children(recursive=True)
            return next((each for each in children if "spawn_main" in " ".join(each.cmdline())), None)

        return until(found, 60, "the nanny has a worker")


@pytest.fixture
def nodes(il: Il, tmp_path: Path) -> Iterator[Nodes]:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{len(started)}.log").open("wb") as log:
            command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
            process = subprocess.Popen(command, env=il.environment, cwd=tmp_path, stdout=log, stderr=log,
                                       start_new_session=True)  # fmt: skip
        started.append(process)
        return process

    try:
        scheduler = start("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        worker = ("dask_worker", address, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
        yield Nodes(address, scheduler, [start(*worker), start(*worker)])
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_worker_and_a_nanny_are_lost(il: Il, scan: Path, whole_run: Path, nodes: Nodes, tmp_path: Path) -> None:
    target = tmp_path / "out.ome.zarr"
    first = nodes.worker_of(0), nodes.worker_of(1)
    words = ("restore", scan, target, *WORDS, "--scheduler", nodes.address)
    with underway(il, *words, target=target) as process:
        first[0].kill()
        until(lambda: done_of(target) >= 5, 200, "the run goes on without a worker")
        nodes.nannies[1].kill()
        code, trouble = told_by(process)
    assert code == 0, trouble
    assert tree(target) == tree(whole_run)


def test_the_scheduler_is_lost(il: Il, scan: Path, whole_run: Path, nodes: Nodes, tmp_path: Path) -> None:
    target = tmp_path / "out.ome.zarr"
    nodes.worker_of(0), nodes.worker_of(1)
    with underway(il, "restore", scan, target, *WORDS, "--scheduler", nodes.address, target=target) as process:
        nodes.scheduler.kill()
        code, trouble = told_by(process)
    assert code == 1
    assert "scheduler" in trouble
    assert "il resume" in trouble
    resumed(il, target, whole_run)


def test_the_run_itself_is_killed(il: Il, scan: Path, whole_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.ome.zarr"
    with underway(il, "restore", scan, target, *WORDS, "--workers", 1, target=target) as process:
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not [each for each in alive if "spawn_main" in " ".join(each.cmdline())], "workers end with their run"
    resumed(il, target, whole_run)


def test_sigterm_lets_what_is_at_work_finish(il: Il, scan: Path, whole_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.ome.zarr"
    with underway(il, "restore", scan, target, *WORDS, "--workers", 1, target=target) as process:
        process.send_signal(signal.SIGTERM)
        code, trouble = told_by(process)
    assert code == 143
    assert "il resume" in trouble
    resumed(il, target, whole_run)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount a disk in memory")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_the_disk_is_full(il: Il, scan: Path, whole_run: Path, disk: Path) -> None:
    target = disk / "out.ome.zarr"
    elsewhere = ("--tracking-uri", f"sqlite:///{disk.parent / 'tracked.db'}")
    with underway(il, "restore", scan, target, *WORDS, *elsewhere, target=target) as process:
        fill(disk)
        code, trouble = told_by(process)
    assert code == 1
    assert "No space left" in trouble
    (disk / "ballast").unlink()
    resumed(il, target, whole_run)


def test_the_source_vanishes_and_another_takes_its_place(il: Il, scan: Path, whole_run: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "scan.npy", tmp_path / "out.ome.zarr"
    shutil.copy(scan, source)
    with underway(il, "restore", source, target, *WORDS, "--workers", 1, target=target) as process:
        source.rename(tmp_path / "away.npy")
        code, trouble = told_by(process)
    assert code in (1, 2)
    assert str(source) in trouble
    np.save(source, np.load(scan) + 1)
    code, _, trouble = il("resume", target)
    assert code == 2
    assert "another content" in trouble
    shutil.copy(scan, source)
    # A worker that has the file open goes on reading it; what comes after opens it again.
    resumed(il, target, whole_run, most=TILES, moved=(source, scan))


#: Loaded by every Python that finds it: a clock that jumps a day back, and later a year on.
JUMPING = """
    import time

    _real, _calls = time.time, 0

    def _time():
        global _calls
        _calls += 1
        return _real() + (0 if _calls < 500 else -86400 if _calls < 3000 else 31536000)

    time.time = _time
"""


def test_clocks_jump(il: Il, scan: Path, whole_run: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(JUMPING))
    jumping = Il({**il.environment, "PYTHONPATH": str(tmp_path)})
    target = tmp_path / "out.ome.zarr"
    code, told, trouble = jumping("restore", scan, target, *WORDS)
    assert code == 0, told + trouble
    assert tree(target) == tree(whole_run)
