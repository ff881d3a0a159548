"""Clocks are set while servers and nights run: nothing that measures or vouches goes by the hour."""

import ast
import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from cryptography import x509

from ilcore.archives.lease import _is_running, _process
from tasks.doors.keys import new_certificate

ROOT = Path(__file__).parents[2]
#: The hour is what these are about: ages of files, times of nights, stamps in records.
BY_THE_HOUR = {
    "ilcore/archives/job_queue.py", "ilcore/archives/cleaning.py", "ilcore/archives/discover.py",
    "ilcore/archives/due.py",
    "ilcore/archives/status.py", "ilcore/archives/stamping.py", "ilcore/running/record.py",
    "ilcore/keeping/repair.py", "flows/nightly.py", "flows/scheduling.py", "flows/watching.py", "tasks/audit.py",
    "tasks/services/doctor.py",
    "tasks/tracking/journal.py", "tasks/nights/steps.py", "tasks/nights/accounts.py",
    "tasks/tracking/tracked_run.py", "tasks/services/stale.py",
    "tasks/tracking/client.py", "ilcore/benchmark/speed.py",
}  # fmt: skip


def test_a_process_is_known_whatever_its_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    held = _process()
    # What psutil tells of a process is counted from the hour at which the machine started, which moves with the clock.
    told = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: told(self) + 3600)
    assert _is_running(held)
    assert not _is_running({**held, "process_since": "another start"})
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    assert not _is_running({**held, "process": ended.pid})
    assert held["process"] == os.getpid()


def test_certificates_are_valid_at_any_hour() -> None:
    shown, key = new_certificate()
    made = x509.load_pem_x509_certificate(shown.encode())
    for years in (-30, 30):
        assert made.not_valid_before_utc < datetime.now(UTC) + timedelta(days=365 * years) < made.not_valid_after_utc
    context = ssl.create_default_context(cadata=shown)
    assert context.cert_store_stats()["x509"] == 1
    assert "PRIVATE KEY" in key


@pytest.mark.medium
def test_what_measures_time_does_not_ask_for_the_hour() -> None:
    """`time.time` and `datetime.now` stand only where the hour itself is meant."""
    found = set()
    for package in ("ilcore", "tasks", "flows"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                    "time.time", "time.time_ns", "datetime.now", "datetime.datetime.now", "datetime.utcnow",
                ):  # fmt: skip
                    found.add(str(path.relative_to(ROOT)))
    assert found <= BY_THE_HOUR
