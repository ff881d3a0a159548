"""The ledger: one writer a chunk, `status` last, and what is in it can be relied on."""

import pickle
from contextlib import suppress

import numpy as np
import pytest

from ilcore.running import ledger as ledgers
from ilcore.running.ledger import BlockReport, Ledger
from ilcore.running.tile_record import REASONS, STATUS, USED, TileRecord
from ilcore.tiling.grid import TileGrid
from tests.dying import WatchedFolder

#: 3 x 5 tiles in units of 2 x 2: the last units of each row and column are short.
GRID = TileGrid((2, 1, 1, 24, 40), (1, 8, 8), unit=(1, 2, 2))
ROW = {"status": "restored", "used": "volume", "reason": "applied", "risk": 0.25, "digest": 2**64 - 1, "steps": 7}


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path / "ledger.zarr", GRID)
    made.create(blocks=3)
    return made


def rows_of(unit, **more):
    return [TileRecord.of(**(ROW | more)) for _ in unit.tiles]


def test_everything_is_open_at_first(ledger):
    assert STATUS[0] == "open"
    assert [unit.index for unit in ledger.open_units()] == [unit.index for unit in GRID.units()]
    assert ledger.open_blocks() == [0, 1, 2]


def test_what_is_committed_is_read_back(ledger):
    unit = GRID.unit_of((1, 0, 1, 2))
    assert len(unit.tiles) == 1
    ledger.commit(unit, rows_of(unit, curve=[(0, 1.0), (5, 0.5)]))
    row = next(row for row in ledger.rows() if row["tile"] == [1, 0, 2, 4])
    assert {name: row[name] for name in ROW} == ROW
    assert row["seam"] is None
    assert row["core"] == [[1, 2], [0, 1], [0, 1], [16, 24], [32, 40]]
    assert ledger.digest_of(unit.tiles[0]) == 2**64 - 1
    curve = ledger.read("curve")[1, 0, 2, 4]
    assert curve[:2].tolist() == [[0, 1.0], [5, 0.5]]
    assert np.isnan(curve[2:]).all()


def test_one_unit_leaves_all_others_alone(ledger):
    units = list(GRID.units())
    for number, unit in enumerate(units):
        ledger.commit(unit, rows_of(unit, steps=number + 1))
        assert [open_.index for open_ in ledger.open_units()] == [other.index for other in units[number + 1 :]]
    for number, unit in enumerate(units):
        assert {int(ledger.read("steps")[tile.index]) for tile in unit.tiles} == {number + 1}


def test_rows_come_in_the_order_of_the_tiles(ledger):
    unit = GRID.unit_of((0, 0, 0, 0))
    ledger.commit(unit, [TileRecord.of(**(ROW | {"steps": n})) for n in range(4)])
    assert [int(ledger.read("steps")[tile.index]) for tile in unit.tiles] == [0, 1, 2, 3]


def test_every_word_survives(ledger):
    unit = GRID.unit_of((0, 0, 0, 0))
    for status in STATUS[1:]:
        for used, reason in zip(USED, REASONS, strict=False):
            ledger.commit(unit, rows_of(unit, status=status, used=used, reason=reason))
            found = next(ledger.rows())
            assert (found["status"], found["used"], found["reason"]) == (status, used, reason)
            assert ledger.is_raw(unit.tiles[0]) == (used == "raw")


def test_a_kill_between_any_two_arrays_leaves_the_unit_open(ledger, monkeypatch):
    unit, disk = GRID.unit_of((0, 0, 1, 1)), WatchedFolder(str(ledger.path))
    disk.watch(monkeypatch)
    for writes in (0, 1, 2):
        with disk.before(writes):
            Ledger(ledger.path, GRID).commit(unit, rows_of(unit, curve=[(0, 1.0)]))
        is_open = unit.index in [each.index for each in Ledger(ledger.path, GRID).open_units()]
        assert is_open == (writes < 2), "the curve is written first, and what tells that it is done last"
    assert len(list(ledger.open_units())) == len(list(GRID.units())) - 1


def test_a_unit_is_one_file(ledger):
    unit = GRID.unit_of((0, 0, 1, 1))
    ledger.commit(unit, rows_of(unit))
    assert [path.name for path in (ledger.path / "tiles" / "c").rglob("*") if path.is_file()] == ["0"]


def test_a_unit_can_be_opened_again(ledger):
    for unit in GRID.units():
        ledger.commit(unit, rows_of(unit))
    again = GRID.unit_of((1, 0, 0, 1))
    ledger.reopen(again)
    assert ledger.open_places() == [(1, 0, 0, 1)]
    assert np.isnan(ledger.read("risk")[1, 0, 0, 2])


def test_the_fill_value_is_never_a_result(ledger):
    assert STATUS.index("open") == 0
    assert USED.index("none") == 0
    assert REASONS.index("none") == 0


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        ({"status": "nonsense"}, "nonsense"),
        ({"used": "magic"}, "magic"),
        ({"reason": "moon"}, "moon"),
        ({"risc": 1.0}, "risc"),
    ],
)
def test_a_word_or_measure_that_nobody_knows_is_an_error(wrong, got):
    with pytest.raises(ValueError, match=f"must be (one of|among) .*, got .*{got}"):
        TileRecord.of(**(ROW | wrong))


def test_pickled_it_opens_where_it_arrives(ledger):
    ledger.read("status")
    sent = pickle.dumps(ledger)
    assert len(sent) < 2000
    arrived = pickle.loads(sent)
    unit = GRID.unit_of((0, 0, 0, 0))
    arrived.commit(unit, rows_of(unit))
    assert ledger.read("status")[0, 0, :2, :2].tolist() == [[1, 1], [1, 1]]


def test_creating_again_keeps_what_is_there(ledger):
    unit = GRID.unit_of((0, 0, 0, 0))
    ledger.commit(unit, rows_of(unit))
    Ledger(ledger.path, GRID).create(blocks=3)
    assert ledger.read("status").sum() == 4


def test_half_a_creation_is_begun_anew(tmp_path):
    half = tmp_path / "ledger.zarr.partial"
    half.mkdir()
    (half / "zarr.json").write_text("{")
    made = Ledger(tmp_path / "ledger.zarr", GRID)
    made.create(blocks=1)
    assert made.read("status").shape == (2, 1, 3, 5)
    assert not half.exists()


def test_one_chunk_for_each_unit_and_checksums(ledger):
    array = ledger._group["tiles"]
    assert array.chunks[:4] == (1, 1, 2, 2)
    assert [type(codec).__name__ for codec in array.compressors] == ["Crc32cCodec"]


def test_a_damaged_chunk_costs_its_unit(ledger):
    unit = GRID.unit_of((0, 0, 0, 0))
    ledger.commit(unit, rows_of(unit))
    chunk = ledger.path / "tiles" / "c" / "0" / "0" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[0] ^= 1
    chunk.write_bytes(content)
    other = GRID.unit_of((0, 0, 0, 1))
    ledger.commit(other, rows_of(other))
    again = Ledger(ledger.path, GRID)
    status = again.read("status")
    assert [int(status[tile.index]) for tile in unit.tiles] == [0] * len(unit.tiles)
    assert all(status[tile.index] for tile in other.tiles), "it costs its unit only"
    assert again.damaged("tiles") == [(0, 0, 0, 0, 0)]
    again.commit(unit, rows_of(unit))
    assert again.damaged("tiles") == []


def test_blocks_of_the_result(ledger):
    ledger.commit_blocks([BlockReport(1, 12, 2**64 - 1)])
    assert ledger.open_blocks() == [0, 2]
    assert ledger.read("clipped_values").tolist() == [0, 12, 0]
    assert ledger.read("block_digest").tolist() == [0, 2**64 - 1, 0]
    ledger.reopen_blocks([1])
    assert ledger.open_blocks() == [0, 1, 2]
    assert ledger.read("block_digest").tolist() == [0, 2**64 - 1, 0]


def test_blocks_are_stored_now_and_then_and_however_it_ends(ledger, monkeypatch):
    monkeypatch.setattr("ilcore.running.ledger.GATHERED", 2)
    with suppress(KeyboardInterrupt), ledger.book() as book:
        for number in range(3):
            book.add(BlockReport(number, number, number))
            assert len(ledger.open_blocks()) == (3, 1, 1)[number]
        raise KeyboardInterrupt
    assert ledger.open_blocks() == []
    assert ledger.read("clipped_values").tolist() == [0, 1, 2]


def test_blocks_of_many_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("ilcore.running.ledger.BLOCKS", 4)
    made = Ledger(tmp_path / "ledger.zarr", GRID)
    made.create(blocks=11)
    made.commit_blocks([BlockReport(number, number, 2 * number) for number in (10, 3, 5, 4)])
    assert made.open_blocks() == [0, 1, 2, 6, 7, 8, 9]
    assert made.read("block_digest").tolist() == [0, 0, 0, 6, 8, 10, 0, 0, 0, 0, 20]


def test_seams_are_known_later(ledger):
    unit = GRID.unit_of((0, 0, 0, 0))
    ledger.commit(unit, rows_of(unit))
    ledger.set_seams(unit, [1.0, 1.5, float("nan"), 2.0])
    assert [row["seam"] for row in ledger.rows()][:2] == [1.0, 1.5]
    assert ledger.read("status")[0, 0, :2, :2].all()


def test_long_curves_are_thinned_to_both_ends(ledger):
    unit = GRID.unit_of((0, 0, 1, 2))
    ledger.commit(unit, rows_of(unit, curve=[(n, 1 / (n + 1)) for n in range(64)]))
    steps = ledger.read("curve")[0, 0, 2, 4, :, 0]
    assert (steps[0], steps[-1]) == (0, 63)
    assert (np.diff(steps) > 0).all()


def test_a_ledger_of_an_earlier_version_is_gone_on_with_in_its_own_columns(tmp_path, monkeypatch):
    fewer = np.dtype([field for field in ledgers.RECORD.descr if field[0] != "spread"])
    with monkeypatch.context() as earlier:
        earlier.setattr(ledgers, "RECORD", fewer)
        Ledger(tmp_path / "ledger.zarr", GRID).create(blocks=3)
    found = Ledger(tmp_path / "ledger.zarr", GRID)
    for unit in GRID.units():
        found.commit(unit, rows_of(unit, spread=0.5))
    assert found.open_places() == []
    assert (found.read("risk") == 0.25).all()
    assert np.isnan(found.read("spread")).all()
    found.reopen(GRID.unit_of((0, 0, 0, 0)))
    assert found.open_places() == [(0, 0, 0, 0)]
    assert found.digest_of(GRID.unit_of((1, 0, 0, 0)).tiles[0]) == 2**64 - 1
