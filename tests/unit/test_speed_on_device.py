"""What methods do on a device is measured row by row: whatever happens to one, the rest goes on and the page tells."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from typer.testing import CliRunner

from flows.cli import app
from ilcore.benchmark import speed_rows, timing
from ilcore.benchmark.page import write_between
from ilcore.benchmark.speed import main, measure_speed
from ilcore.benchmark.speed_page import Speeds, part_of, speed_page
from ilcore.benchmark.speed_rows import APPLIED, SpeedRow, SpeedWishes, blank_rows, measured_rows
from ilcore.benchmark.timing import Ceiling
from ilcore.grammar.arrays import Streams, Weights
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import DirectMethod
from ilcore.grammar.step_context import Restoration
from ilcore.methods.catalogue import METHODS
from tests.claimed_device import claimed_device
from tests.quick import quick

pytestmark = pytest.mark.medium

SMALL = SpeedWishes(device="cpu", tiles=(1, 2), side=32, steps=4, methods=("zs_n2n", "nl_ridge"))

_WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ImportError(f"{{name}} is not there")

sys.meta_path.insert(0, Absent())
from {module} import main
sys.argv[1:] = {words}
sys.exit(main())
"""
_SERVERS = {"zarr", "dask", "distributed", "prefect", "mlflow"}
_BUT_TORCH = _SERVERS | {"scipy", "skimage", "pywt", "safetensors", "yaml", "pydantic", "typer", "rich", "tifffile"}


@dataclass(frozen=True)
class Failing(DirectMethod):
    error: type[Exception]
    words: str

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        yield from ()

    def halo(self, space: int) -> tuple[int, ...]:
        return (0,) * space

    def restore(self, problem: Problem, streams: Streams, *, start: Weights | None = None) -> Restoration:
        raise self.error(self.words)


def ticking(work: Callable[[], object], device: torch.device) -> tuple[object, float]:
    """Return what a work returns and a second, with a millisecond a tile and step: no real clock is as sure."""
    done = work()
    return done, 1 + (1e-3 * sum(done) if isinstance(done, tuple) else 0)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[SpeedRow], str]:
    page = tmp_path_factory.mktemp("speed") / "speed.md"
    told: list[str] = []
    with mock.patch.object(speed_rows, "timed", ticking):
        rows = measure_speed(SMALL, page, tell=told.append)
    assert len(told) == len(rows)
    return rows, page.read_text()


def without(absent: set[str], module: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    code = _WITHOUT.format(absent=absent, module=module, words=words)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)


def speeds(kind: str, *rows: SpeedRow) -> Speeds:
    return Speeds(
        wishes=SMALL, device="a card", kind=kind, date="2026-01-02", command="il bench --speed", asked=9, rows=rows,
        ceiling=Ceiling(tflops={"float32": 2.0, "TF32": 20.0}, precision="TF32", bandwidth=3e12),
    )  # fmt: skip


def test_every_number_is_measured(measured: tuple[list[SpeedRow], str]) -> None:
    rows = {(row.name, row.tiles): row for row in measured[0]}
    one, two = rows["zs_n2n", 1], rows["zs_n2n", 2]
    for row in (one, two):
        assert not row.refused
        assert row.tile_step_seconds == pytest.approx(1e-3)
        assert row.step_seconds == pytest.approx(row.tiles * 1e-3)
        assert row.tflops == pytest.approx((row.flop or 0) / 1e9)
    # 3.1e9 at 128 x 128, by another program.
    assert one.flop == two.flop == pytest.approx(3.1e9 / 16, rel=0.03)
    whole = rows["nl_ridge", 2]
    assert whole.megapixel_seconds == pytest.approx(1 / (2 * 32 * 32 / 1e6))
    assert whole.step_seconds is None


def test_the_clock_waits_for_the_work() -> None:
    done, taken = timing.timed(lambda: time.sleep(0.05), torch.device("cpu"))
    assert done is None
    assert taken >= 0.05


def test_a_clock_that_tells_nothing_is_told_and_counts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_rows, "timed", lambda work, device: (work(), 1.0))
    (row,) = measured_rows(replace(SMALL, tiles=(1,), methods=("zs_n2n",)))
    assert "the clock told nothing of 4 steps" in row.refused
    assert row.step_seconds is None
    assert (row.launches or 0) > 50


def test_tiles_that_are_computed_together_are_counted_together(measured: tuple[list[SpeedRow], str]) -> None:
    one, two = (row for row in measured[0] if row.name == "zs_n2n")
    assert one.launches is not None
    assert two.launches is not None
    assert 50 < one.launches <= two.launches < 1.5 * one.launches
    assert one.host_drawn_bytes == 0


def test_draws_are_told_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "dip", quick("dip"))
    # The input of the prior: 32 channels of normal numbers, anew at each step.
    (row,) = measured_rows(replace(SMALL, tiles=(2,), steps=1, methods=("dip",)))
    assert row.host_drawn_bytes == 2 * 32 * 32 * 32 * 4


def test_the_page_says_what_was_measured_where_and_how(measured: tuple[list[SpeedRow], str]) -> None:
    page = measured[1]
    for words in ("float32", "GB/s", "torch 2", "seed 0", "### 2 tiles", "| `zs_n2n` |", "| `nl_ridge` | 2 x 32²"):
        assert words in page
    assert "il bench --speed --device cpu --tiles 1,2 --side 32 --steps 4 --method zs_n2n --method nl_ridge" in page
    assert "not finished" not in page


@pytest.mark.parametrize(
    ("error", "words", "told"),
    [
        (MemoryError, "", "out of memory"),
        (torch.OutOfMemoryError, "no memory on this card", "out of memory"),
        (ValueError, "two\nlines", "ValueError: two"),
        (RuntimeError, "", "RuntimeError: RuntimeError"),
    ],
)
def test_a_method_that_fails_has_a_row_and_the_rest_goes_on(
    error: type[Exception], words: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "failing", replace(METHODS["nlm"], method=Failing(error, words)))
    rows = list(measured_rows(replace(SMALL, tiles=(1,), methods=("failing", "bicubic"))))
    assert [row.refused for row in rows] == [told, ""]
    assert told in speed_page(speeds("cuda", *rows))


def test_what_there_is_no_time_for_is_told() -> None:
    rows = list(measured_rows(replace(SMALL, seconds=1e-9)))
    assert {row.refused for row in rows} == {"out of time"}
    assert "| out of time | zs_n2n (1 x 32²), nl_ridge (1 x 32²)," in speed_page(speeds("cpu", *rows))


def test_work_that_grows_with_the_tiles_is_left_out_where_it_would_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_rows, "LONGEST", 1e-6)
    first, second = measured_rows(replace(SMALL, methods=("bicubic",)))
    assert not first.refused
    assert second.refused.startswith("left out")


def test_all_methods_at_all_numbers_of_tiles_are_asked_for_and_the_shipped_weights_too() -> None:
    rows = blank_rows(SpeedWishes())
    assert [(row.name, row.tiles) for row in rows if row.name != APPLIED] == [
        (name, tiles) for tiles in (1, 8, 64, 256) for name in METHODS
    ]
    assert {(row.tiles, row.side) for row in rows if row.name == APPLIED} >= {(1, 512), (1, 2048), (256, 128)}


def test_shipped_weights_are_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    row = SpeedRow(name=APPLIED, tiles=2, side=32)
    monkeypatch.setattr(speed_rows, "blank_rows", lambda wishes: [row])
    (done,) = measured_rows(SMALL)
    assert done.megapixel_seconds is not None
    assert done.megapixel_seconds > 0


def test_each_kind_of_device_has_its_part_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    row = SpeedRow(
        name="zs_n2n", tiles=1, side=32, step_seconds=2e-3, tile_step_seconds=2e-3, flop=4e9, peak_bytes=7_000_000
    )
    for kind, name in [("cuda", "first"), ("cpu", "processor"), ("cuda", "second")]:
        text = speed_page(replace(speeds(kind, row), device=name))
        write_between(page, text, title="Speed", part=part_of(kind))
    told = page.read_text()
    assert [name in told for name in ("first", "processor", "second")] == [False, True, True]
    # 4e9 operations in 2 ms are 2 TFLOP/s: a tenth of the 20 in which it convolves.
    assert "| `zs_n2n` | 2 | 2,000 | 500 | 4 | 2 | 10.0% | 7 | - | - | - |" in told
    assert "not finished: 1 of 9 rows" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--speed --data . --crop 20 --noise 0", "--data, --noise, --crop"),
        ("--tiles 1,2 --side 32", "--tiles, --side"),
        ("--speed --tiles 1,x", "'1,x'"),
        ("--speed --tiles 0", "(0,)"),
        ("--speed --side 4", "side 4"),
        ("--speed --steps 0", "steps 0"),
        ("--speed --seconds -1", "seconds -1.0"),
        ("--speed --method nonsense", "nonsense"),
        ("--speed --device nonsense", "nonsense"),
    ],
)
def test_bad_wishes_are_one_sentence(words: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["bench", *words.split()])
    assert ended.exit_code == 2
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_is_measured_as_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_SIDES", (64, 64))
    monkeypatch.setattr(timing, "_COPIED", (4096, 4096))
    card = SimpleNamespace(total_memory=80e9)
    of_a_card = {
        "is_available": True, "device_count": 1, "synchronize": None, "empty_cache": None, "get_device_name": "A Card",
        "reset_peak_memory_stats": None, "max_memory_allocated": 7_000_000, "get_device_properties": card,
    }  # fmt: skip
    for name, answer in of_a_card.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(speed_rows, "timed", ticking)
    page = tmp_path / "page.md"
    with claimed_device():
        one, two = measure_speed(replace(SMALL, device="cuda", methods=("zs_n2n",)), page)
    told = page.read_text()
    for words in ("measured on a GPU", "A Card, 80 GB", "in TF32", "in bfloat16", "*Share* is of TF32"):
        assert words in told
    assert one.peak_bytes == 7_000_000
    assert one.launches is not None
    assert two.launches is not None
    assert 50 < two.launches < 1.5 * one.launches
    assert (two.host_reads or 0) < 2


def test_the_module_alone_refuses_in_one_sentence_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiles", "one", "--out", str(tmp_path / "page.md")]) == 2
    assert "'one'" in capsys.readouterr().err


def test_the_command_needs_no_servers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    words = f"bench --speed --device cpu --tiles 1 --side 32 --steps 2 -m zs_n2n -m nlm --out {page}"
    done = without(_SERVERS, "flows.cli", words.split())
    assert done.returncode == 0, done.stderr
    told = page.read_text()
    assert "| `nlm` |" in told
    assert "zs_n2n" in told
    assert "Error" not in told


def test_torch_and_numpy_are_enough_and_methods_that_need_more_say_so(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    words = f"--device cpu --tiles 1 --side 32 --steps 2 -m zs_n2n -m nlm -m adapted --out {page}"
    done = without(_BUT_TORCH, "ilcore.benchmark.speed", words.split())
    assert done.returncode == 0, done.stderr
    told = page.read_text()
    assert "zs_n2n" in told
    assert told.count("Error") == 2
    for missing in ("skimage", "safetensors"):
        assert f"ImportError: {missing}" in told
