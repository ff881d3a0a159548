"""A sealed machine: proxies that never answer, no home folder, no folder for temporary files where one is named."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_nightly import archive_in, scan
from tests.il import Il

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
#: What would help on this machine, and is not to.
HELP = ("HOME", "TMPDIR", "PREFECT", "MLFLOW", "XDG", "IL_", "NO_PROXY", "no_proxy")


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Il]:
    """The command, embedded servers and all, where the proxies take every connection and never answer one."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    known = {name: value for name, value in os.environ.items() if not name.startswith(HELP)}
    known |= {"HOME": str(tmp_path / "none"), "TMPDIR": str(tmp_path / "gone")}
    known["PYTHONPATH"] = str(Path(__file__).parents[2])
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(64)
        yield Il(known | dict.fromkeys(names, f"http://127.0.0.1:{held.getsockname()[1]}"))


def test_a_scan_and_a_night_are_restored_on_a_sealed_machine(sealed: Il, tmp_path: Path) -> None:
    words = ("--method", "adapted", "--steps", 0, "--device", "cpu", "--workers", 1)
    code, told, trouble = sealed("restore", scan(tmp_path, "scan", 0), tmp_path / "clean.ome.zarr", *words)
    assert code == 0, told + trouble
    assert "Traceback" not in told + trouble
    assert "note: temporary files go to " in trouble
    assert "note: HOME is " in trouble

    folder = tmp_path / "archive"
    folder.mkdir()
    archive = archive_in(folder)
    scan(folder / "scans", "one", 1)
    code, told, trouble = sealed("nightly", archive)
    assert code == 0, told + trouble
    assert "1 done" in told
    assert "Traceback" not in told + trouble
