"""What a user does with `il`, in real processes, on one real Prefect server."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from ilcore.running.workspace import Workspace
from tests.il import Il, digests_of, done_of, end, picture_of, status_of
from tests.servers import PrefectServer, until

#: The pretrained model as it is: a moment for each tile.
QUICK = ("--method", "adapted", "--steps", "0", "--tile", "64,64", "--device", "cpu")
#: A few steps on each tile: long enough to be killed in the middle.
SLOW = ("--method", "adapted", "--scope", "tile", "--steps", "4", "--tile", "64,64", "--device", "cpu")

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, np.ndarray]]:
    """A noisy scan whose truth is known."""
    rng = np.random.default_rng(3)
    clean = ndimage.gaussian_filter(rng.normal(size=(192, 192)), 5)
    clean = (clean / clean.std()).astype(np.float32)
    path = tmp_path_factory.mktemp("scan") / "scan.npy"
    np.save(path, clean + rng.normal(0, 0.4, clean.shape).astype(np.float32))
    return path, clean


@pytest.fixture
def il(prefect_server: PrefectServer) -> Il:
    return Il(prefect_server.environment)


def test_a_noisy_scan_goes_in_and_a_better_one_comes_out(il: Il, scan: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    source, clean = scan
    target = tmp_path / "clean.ome.zarr"
    code, told, trouble = il("restore", source, target, *QUICK, "--workers", 2)
    assert code == 0, told + trouble
    assert "verdict" in told
    assert "Traceback" not in trouble
    error, before = (np.mean((image - clean) ** 2) for image in (picture_of(target), np.load(source)))
    assert error < 0.5 * before
    page = (tmp_path / "clean.ome.zarr.il" / "report.html").read_text()
    assert "data:image/png" in page
    assert "http://" not in page.replace("http://www.w3.org", "")

    began = time.monotonic()
    assert il("restore", source, target, *QUICK)[0] == 0, "the same command again finds everything done"
    assert il("restore", source, target, *QUICK, "--seed", "1")[0] == 2, "another plan needs --overwrite"
    assert time.monotonic() - began < 300

    code, told, _ = il("status", target, "--json")
    assert json.loads(told)["state"] == "published"
    code, told, _ = il("qa", target, "--json")
    assert code == 0
    assert {"check", "verdict", "measured", "allowed"} <= set(json.loads(told)["findings"][0])


def test_a_killed_run_goes_on_to_the_same_bytes_whatever_the_workers(
    il: Il, scan: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    source, _ = scan
    whole_run, killed_run = tmp_path / "whole.ome.zarr", tmp_path / "killed.ome.zarr"
    assert il("restore", source, whole_run, *SLOW, "--workers", 2)[0] == 0

    process = il.start("restore", source, killed_run, *SLOW, "--workers", 1)
    done = until(lambda: done_of(killed_run), 300, "some tiles are done")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert 0 < done < len(status_of(killed_run)), "killed in the middle"
    assert not killed_run.exists()
    kept = digests_of(killed_run)

    code, told, trouble = il("resume", killed_run, "--workers", 2)
    assert code == 0, told + trouble
    assert np.array_equal(picture_of(killed_run), picture_of(whole_run))
    again = digests_of(killed_run)
    assert all(again[place] == digest for place, digest in kept.items())


def test_a_second_run_refuses_and_ctrl_c_says_how_to_go_on(
    il: Il, scan: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    source, _ = scan
    target = tmp_path / "clean.ome.zarr"
    first = il.start("restore", source, target, *SLOW, "--steps", 500, "--workers", 1)
    try:
        until(lambda: Workspace.of(target).plan.exists(), 300, "the first is at work")
        for words in (("restore", source, target, *SLOW), ("resume", target)):
            code, _, trouble = il(*words)
            assert code == 1
            assert str(first.pid) in trouble, "the message says who is at work"
            assert "one run at a time" in trouble
        os.killpg(first.pid, signal.SIGINT)
        _, trouble = first.communicate(timeout=60)
        assert first.returncode == 130
        assert f"il resume {target}" in trouble
        assert "Traceback" not in trouble
    finally:
        end(first)


def test_a_result_that_the_gate_refuses_is_not_published(il: Il, scan: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    source, _ = scan
    target = tmp_path / "refused.ome.zarr"
    # Told that there is almost no noise, the judge must find that far too much was taken away.
    code, told, trouble = il("restore", source, target, "--method", "adapted", "--steps", "0", "--noise-std", "0.01")
    assert code == 3, told + trouble
    assert "nothing was published" in told
    assert not target.exists()
    assert il("qa", target)[0] == 3
