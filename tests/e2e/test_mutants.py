"""Damaged volumes of every format: each is read, or refused in one sentence, soon and with little memory.

`IL_MUTANTS` says how many; `make e2e` tries five hundred.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.seeds import SEEDS
from tests.mutants.trial import look

COUNT = int(os.environ.get("IL_MUTANTS", "24"))
BATCH = 25


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr")
@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_sound_is_read(tmp_path, seed):
    look(str(SEEDS[seed](tmp_path)))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(0, COUNT, BATCH))
def test_mutants_are_read_or_refused(first):
    last = min(first + BATCH, COUNT)
    command = [sys.executable, "-W", "ignore", "-m", "tests.mutants.trial", str(first), str(last)]
    found = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=880)
    assert found.returncode == 0, found.stderr
    outcomes = [json.loads(line) for line in found.stdout.splitlines()]
    assert [each["number"] for each in outcomes] == list(range(first, last))
    bad = [each for each in outcomes if each["outcome"] != "read" and not each["outcome"].startswith("refused: ")]
    assert not bad, json.dumps(bad, indent=1)
