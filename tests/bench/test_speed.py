"""The bench of speed runs, goes on where it stopped, and tells what it could not measure."""

from pathlib import Path

import pytest

from ilcore.benchmark.lines import Lines
from ilcore.methods.catalogue import METHODS
from tests.bench import speed
from tests.bench.speed import BESIDE, Row, key_of, measured, page, rows_of


@pytest.mark.parametrize("name", ["wavelet", "zs_n2n", "skimage tv"])
def test_a_row_is_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for size, small in {"WHOLE": 64, "TILE": 32, "CHAIN": 64, "MORE": 3}.items():
        monkeypatch.setattr(speed, size, small)
    row = measured(name)
    assert not row.refused
    assert row.restored is not None
    assert row.restored > 0
    if name in METHODS:
        assert row.reads is not None
        assert min(row.reads) >= 1
        assert row.chain is not None
        assert row.chain > 0
    assert (row.learnt is not None) == (name == "zs_n2n")


def test_rows_are_kept_and_only_missing_ones_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def work(name: str) -> Row:
        asked.append(name)
        return Row(name=name, key=key_of(name), restored=2.0, reads=(1.1, 1.5))

    lines = Lines(tmp_path / "rows.jsonl")
    first = rows_of(["nlm", "tv"], lines, work)
    assert rows_of(["nlm", "tv", "wavelet"], lines, work) == first | {"wavelet": work("wavelet")}
    assert asked == ["nlm", "tv", "wavelet", "wavelet"]
    monkeypatch.setattr(speed, "machine", lambda: "another")
    rows_of(["nlm"], lines, work)
    assert asked[-1] == "nlm"


def test_the_page_says_what_was_refused_and_compares_the_rest() -> None:
    found = {
        "skimage tv": Row(name="skimage tv", key="", restored=0.5),
        "nlm": Row(name="nlm", key="", restored=2.0, reads=(1.1, 1.5)),
        BESIDE: Row(name=BESIDE, key="", refused="not installed"),
    }
    told = page(found, "python -m tests.bench.speed")
    row = next(line for line in told.splitlines() if line.startswith("| `nlm`"))
    assert "| 2.00 |" in row
    assert row.endswith("| 4.00 | - |")
    assert "| not installed |" in told


def test_every_method_has_a_key_of_its_own() -> None:
    assert len({key_of(name) for name in METHODS}) == len(METHODS)
