"""The first command of the README, counted in CPU seconds."""

import os
import resource
import sys
import time

import pytest

from tests.il import Il

#: CPU seconds of all processes of the demo on any machine that runs the tests; it is printed, so that it can be quoted.
MOST = 240


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_passes_and_is_cheap(tmp_path, capsys):
    il = Il({**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")})
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    code, told, trouble = il("demo", tmp_path / "demo")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert code == 0, told + trouble
    assert "verdict     pass" in told
    with capsys.disabled():
        sys.stdout.write(f"\nil demo: {spent:.0f} CPU seconds, {time.monotonic() - began:.0f} s\n")
    assert spent < MOST
