"""What a stage says of itself where there is no terminal."""

import pytest

from tasks.progress import Progress, memory_bytes


def test_a_line_for_every_tenth_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress.of("optimise", 200, "tiles") as progress:
        for _ in range(200):
            progress.step()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1].startswith("optimise: 200/200 tiles")
    assert all("tiles/s" in line and "s left" in line and "GB" in line for line in lines)


def test_the_rate_does_not_count_what_an_earlier_run_did(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress.of("optimise", 100, "tiles", already=90) as progress:
        progress.started -= 10
        progress.reach(100)
    assert "100/100 tiles, 1.00 tiles/s" in capsys.readouterr().err


def test_memory_counts_this_process() -> None:
    assert memory_bytes() > 10_000_000
