"""Every store obeys the same laws: a disk, a real S3 server, the memory of a process."""

import pickle
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem

from ilcore.grammar.errors import Busy
from ilcore.stores import store_lock
from ilcore.stores.concurrent import map_concurrently
from ilcore.stores.locks import lock_of
from ilcore.stores.places import (
    at_hand,
    entries,
    is_there,
    make_folder,
    opened_by,
    place_of,
    put_by,
    read_bytes,
    read_text,
    remove,
    size_of,
    store_of,
    write_bytes,
    write_text,
)

STORES = ("disk", "s3", "memory")


@pytest.fixture(params=STORES)
def root(request, tmp_path, monkeypatch):
    """An empty place in each store."""
    monkeypatch.setattr(store_lock, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(store_lock, "LOOKS", 4)
    if request.param == "disk":
        yield place_of(tmp_path)
        return
    if request.param == "s3":
        yield place_of(request.getfixturevalue("bucket"))
        return
    place = place_of(f"memory://{uuid.uuid4().hex[:8]}")
    yield place
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def nothing_in(root):
    # Some stores keep names of what was removed.
    return not any(map(is_there, entries(root)))


def test_the_store_is_known_by_the_address_alone(root):
    for place in (str(root), root / "a", pickle.loads(pickle.dumps(root))):
        assert store_of(place) is store_of(root)


def test_a_file_is_written_in_one_step(root):
    make_folder(root / "a")
    write_text(root / "a" / "note", "one")
    write_text(root / "a" / "note", "another")
    assert read_text(root / "a" / "note") == "another"
    with pytest.raises(FileNotFoundError):
        read_text(root / "a" / "none")
    assert [each.name for each in entries(root / "a")] == ["note"]


def test_a_reader_finds_the_old_content_or_the_new_one(root):
    place, contents = root / "big", [bytes([value]) * 2**19 for value in range(2)]
    write_bytes(place, contents[0])
    is_over = threading.Event()

    def read():
        seen = set()
        while not is_over.is_set():
            seen.add(read_bytes(place))
        return seen

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for turn in range(20):
            write_bytes(place, contents[turn % 2])
        is_over.set()
        assert reading.result() <= set(contents)


def test_entries_are_what_lies_right_there_by_name(root):
    for name in ("b", "a", "c/inner"):
        make_folder((root / name).parent)
        write_text(root / name, name)
    assert [each.name for each in entries(root)] == ["a", "b", "c"]
    assert entries(root / "nowhere") == []


def test_what_is_there_is_there_until_it_is_removed(root):
    make_folder(root / "folder")
    write_text(root / "folder" / "file", "")
    make_folder(root / "folder2")
    write_text(root / "folder2" / "file", "")
    assert is_there(root / "folder" / "file")
    assert is_there(root / "folder")
    assert not is_there(root / "folde")
    remove(root / "folder" / "file")
    assert not is_there(root / "folder" / "file")
    write_text(root / "folder" / "file", "")
    remove(root / "folder")
    assert not is_there(root / "folder")
    # A name that only begins alike is another.
    assert is_there(root / "folder2")
    remove(root / "folder")
    store_of(root).discard(root / "folder")
    store_of(root).discard(root / "folder2")
    assert nothing_in(root)


def test_sizes_are_those_of_all_files(root):
    make_folder(root / "a" / "b")
    write_bytes(root / "a" / "one", bytes(100))
    write_bytes(root / "a" / "b" / "two", bytes(23))
    assert (size_of(root / "a"), size_of(root / "a" / "one")) == (123, 100)


def test_libraries_that_know_only_files_are_lent_one(root):
    with put_by(root / "model.bin") as file:
        file.write_bytes(b"weights")
    with at_hand(root / "model.bin") as file:
        assert (file.read_bytes(), file.name) == (b"weights", "model.bin")
    assert [each.name for each in entries(root)] == ["model.bin"]
    with pytest.raises(FileNotFoundError), at_hand(root / "none") as file:
        file.read_bytes()


def test_what_is_made_gets_its_name_when_it_is_whole(root):
    store, place = store_of(root), root / "maps.zarr"
    half = store.half_made(place)
    zarr.create_array(**opened_by(half / "0"), shape=(4,), dtype="u1", chunks=(2,))[...] = [1, 2, 3, 4]
    zarr.create_group(**opened_by(half))
    store.give_name(half, place)
    np.testing.assert_array_equal(zarr.open_array(**opened_by(place / "0"), mode="r")[...], [1, 2, 3, 4])
    assert [each.name for each in entries(root)] == ["maps.zarr"]


def test_halves_of_killed_writers_go(root):
    make_folder(root / "a")
    write_text(root / "a" / "whole", "")
    if store_of(root).renames:
        write_text(root / "a" / "chunk.partial", "")
    store_of(root).remove_halves(root)
    assert [each.name for each in entries(root / "a")] == ["whole"]


def test_a_stamp_changes_with_the_file_or_says_nothing(root):
    store, place = store_of(root), root / "weights"
    assert store.stamp(place) is None
    write_text(place, "a")
    before = store.stamp(place)
    assert store.stamp(place) == before
    write_text(place, "longer")
    assert before is None or store.stamp(place) != before


def test_asking_whether_it_can_be_written_leaves_nothing(root):
    store = store_of(root)
    store.check_writable(root / "out.ome.zarr")
    assert nothing_in(root)
    free = store.free_bytes(root / "out.ome.zarr")
    assert free is None or free > 0
    assert (free is not None) == store.renames


def test_results_go_where_others_see_them(root):
    assert store_of(root).takes_results(root / "out") == (not str(root).startswith("memory:"))


def test_several_requests_give_their_answers_in_order(root):
    for number in range(9):
        write_text(root / str(number), str(number))
    assert list(map_concurrently(lambda place: int(read_text(place)), entries(root), root)) == list(range(9))


def test_of_many_writers_on_a_condition_one_gets_through(root):
    store, place = store_of(root), root / "lock"
    if store.renames:
        pytest.skip("a disk has locks of its system")
    assert store.read_tagged(place) is None
    assert store.write_if(place, b"early", "no such tag") is None
    first = store.write_if(place, b"first", None)
    assert first is not None
    assert store.read_tagged(place) == (b"first", first)
    assert store.write_if(place, b"again", None) is None
    with ThreadPoolExecutor(4) as pool:
        tags = list(pool.map(lambda number: store.write_if(place, b"%d" % number, first), range(8)))
    won = [number for number, tag in enumerate(tags) if tag is not None]
    assert len(won) == 1
    assert store.read_tagged(place) == (b"%d" % won[0], tags[won[0]])
    assert store.write_if(place, b"late", first) is None


def test_one_at_a_time_holds_a_lock(root):
    place = root / "out.il" / "lock"
    first, second = lock_of(place, "out"), lock_of(place, "out")
    first.take()
    with pytest.raises(Busy, match="one run at a time may work on out, got another"):
        second.take()
    first.check(is_sure=True)
    first.release()
    second.take()
    second.check(is_sure=True)
    assert is_there(place)
    second.release(is_last=True)
    assert nothing_in(root)
