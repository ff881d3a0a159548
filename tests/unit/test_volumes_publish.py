"""Publishing puts a whole result in place, and refuses what would do harm."""

import json
import os
import shutil
from collections import namedtuple

import numpy as np
import pytest

from ilcore.formats.open import from_array, open_volume
from ilcore.grammar.errors import BadInput, DestinationError
from ilcore.grammar.region import whole
from ilcore.results import publish
from ilcore.results.destination import check_destination, estimated_bytes
from ilcore.results.ome_zarr import Level, write_root
from ilcore.results.publish import finish_publishing
from ilcore.results.write import create_array

SHAPE = (1, 1, 1, 8, 8)


def result(path, value, root=True):
    """Write a small result that holds one value everywhere."""
    volume = from_array(np.full((8, 8), value, dtype=np.uint8), "yx")
    create_array(f"{path}/0", shape=SHAPE, dtype="u1", axes="yx").write(whole(SHAPE), volume.read(whole(SHAPE)))
    if root:
        write_root(str(path), volume=volume, levels=[Level("0", SHAPE)], name="a")
    return path


def value(path):
    return int(open_volume(path).read(whole(SHAPE)).max())


@pytest.fixture(name="staging")
def _staging(tmp_path):
    return result(tmp_path / "out.il" / "staging", 2)


@pytest.fixture(name="destination")
def _destination(tmp_path):
    return tmp_path / "out"


@pytest.fixture(name="no_swap")
def _no_swap(monkeypatch):
    """A system that cannot exchange two folders in one call."""
    monkeypatch.setattr(publish, "_swap", lambda *_: False)


def test_a_new_result_takes_its_place(staging, destination):
    publish.publish(staging, destination)
    assert value(destination) == 2
    assert not staging.exists()


def test_folders_above_the_destination_are_made(staging, tmp_path):
    publish.publish(staging, tmp_path / "deep" / "er" / "out")
    assert value(tmp_path / "deep" / "er" / "out") == 2


@pytest.mark.parametrize("swapping", [True, False])
def test_an_earlier_result_is_replaced_only_when_asked(staging, destination, swapping, request):
    if not swapping:
        request.getfixturevalue("no_swap")
    result(destination, 1)
    with pytest.raises(BadInput, match="is there already; choose another, or ask to overwrite"):
        publish.publish(staging, destination)
    assert value(destination) == 1
    publish.publish(staging, destination, overwrite=True)
    assert value(destination) == 2
    assert sorted(path.name for path in staging.parent.iterdir()) == ["out.publish.json"]


def test_publishing_again_after_success_changes_nothing(staging, destination):
    publish.publish(staging, destination)
    publish.publish(staging, destination)
    publish.publish(staging, destination, overwrite=True)
    assert value(destination) == 2


def test_the_next_result_is_published_over_the_last(staging, destination):
    publish.publish(staging, destination)
    result(staging, 3)
    assert not finish_publishing(staging, destination)
    publish.publish(staging, destination, overwrite=True)
    assert value(destination) == 3


def test_nothing_to_publish(tmp_path):
    with pytest.raises(DestinationError, match="there is nothing; restore it first"):
        publish.publish(tmp_path / "none", tmp_path / "out")


def test_a_half_result_is_not_published(tmp_path, destination):
    result(destination, 1)
    half = result(tmp_path / "out.il" / "staging", 2, root=False)
    with pytest.raises(DestinationError, match="a complete result was wanted"):
        publish.publish(half, destination, overwrite=True)
    with pytest.raises(DestinationError, match="a complete OME-Zarr was wanted"):
        publish.publish(half / "0", destination, overwrite=True)
    assert value(destination) == 1


def test_a_result_without_one_of_its_levels_is_not_published(tmp_path, destination):
    path = result(tmp_path / "out.il" / "staging", 2, root=False)
    volume = from_array(np.ones((8, 8), dtype=np.uint8), "yx")
    create_array(f"{path}/1", shape=SHAPE, dtype="u1", axes="yx")
    write_root(str(path), volume=volume, levels=[Level("0", SHAPE), Level("1", SHAPE)], name="a")
    shutil.rmtree(path / "1")
    with pytest.raises(DestinationError, match="a complete result was wanted"):
        publish.publish(path, destination)
    assert not destination.exists()


def test_only_zarr_folders_are_ever_replaced(staging, destination):
    destination.mkdir()
    (destination / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="is no Zarr folder; move it away yourself"):
        publish.publish(staging, destination, overwrite=True)
    assert (destination / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_is_no_obstacle(staging, destination):
    destination.mkdir()
    publish.publish(staging, destination)
    assert value(destination) == 2


def test_a_link_to_the_destination_is_followed(staging, destination, tmp_path):
    result(destination, 1)
    (tmp_path / "link").symlink_to(destination)
    publish.publish(staging, tmp_path / "link", overwrite=True)
    assert value(destination) == value(tmp_path / "link") == 2
    assert (tmp_path / "link").is_symlink()


def test_a_disk_that_refuses_leaves_both_results_whole(staging, destination, monkeypatch):
    result(destination, 1)

    def refuse(*_):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(publish, "_swap", refuse)
        with pytest.raises(DestinationError, match="Read-only file system"):
            publish.publish(staging, destination, overwrite=True)
    assert (value(staging), value(destination)) == (2, 1)
    publish.publish(staging, destination)
    assert value(destination) == 2


def interrupted(staging, destination, monkeypatch, step):
    """Publish, and stop just before one of the steps."""

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(publish, step, kill)
        with pytest.raises(Killed):
            publish.publish(staging, destination, overwrite=True)


def test_a_begun_publication_whose_result_was_deleted_is_forgotten(staging, destination, monkeypatch):
    result(destination, 1)
    interrupted(staging, destination, monkeypatch, "_bring_in")
    shutil.rmtree(staging)
    result(staging, 3, root=False)
    assert not finish_publishing(staging, destination)
    assert value(destination) == 1
    shutil.rmtree(staging)
    result(staging, 3)
    publish.publish(staging, destination, overwrite=True)
    assert value(destination) == 3


@pytest.mark.usefixtures("no_swap")
def test_the_old_result_goes_back_if_the_new_one_was_deleted(staging, destination, monkeypatch):
    result(destination, 1)
    keep = publish._rename

    def once(one, other):
        keep(one, other)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(publish, "_rename", once)
        with pytest.raises(KeyboardInterrupt):
            publish.publish(staging, destination, overwrite=True)
    assert not destination.exists()
    shutil.rmtree(staging)
    assert not finish_publishing(staging, destination)
    assert value(destination) == 1


def test_folders_moved_by_others_are_not_touched(staging, destination, monkeypatch):
    result(destination, 1)
    interrupted(staging, destination, monkeypatch, "_bring_in")
    shutil.rmtree(staging)
    destination.rename(destination.with_name("elsewhere"))
    result(destination, 7)
    with pytest.raises(DestinationError, match="both are something else; look at them"):
        finish_publishing(staging, destination)
    assert value(destination) == 7


def test_an_old_result_in_staging_is_never_published_over_the_new_one(staging, destination, monkeypatch):
    result(destination, 1)
    keep = publish._rename

    def kill(one, other):
        if other.name.endswith(".previous"):
            raise KeyboardInterrupt
        keep(one, other)

    with monkeypatch.context() as patched:
        patched.setattr(publish, "_rename", kill)
        with pytest.raises(KeyboardInterrupt):
            publish.publish(staging, destination, overwrite=True)
    assert (value(staging), value(destination)) == (1, 2)
    assert finish_publishing(staging, destination)
    assert value(destination) == 2
    assert not staging.exists()


def test_a_damaged_note_is_said(staging, destination):
    (staging.parent / "out.publish.json").write_text("{")
    with pytest.raises(DestinationError, match="it is damaged"):
        publish.publish(staging, destination)
    (staging.parent / "out.publish.json").write_text(json.dumps({"state": "moving"}))
    with pytest.raises(DestinationError, match="it is damaged"):
        publish.publish(staging, destination)


def test_a_destination_that_is_fine(tmp_path):
    assert check_destination(tmp_path / "a" / "b", tmp_path / "source.zarr", needed_bytes=1000) == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []


def test_destination_and_source_apart(tmp_path):
    source = tmp_path / "scan.zarr"
    for inside in (source, source / "out", source / "a" / "b"):
        with pytest.raises(BadInput, match="apart from the source"):
            check_destination(inside, source, overwrite=True)
    with pytest.raises(BadInput, match="apart from the source"):
        check_destination(tmp_path, source, overwrite=True)
    check_destination(tmp_path / "scan.zarr2", source)
    check_destination(tmp_path / "a", "s3://bucket/a")


def test_destination_inside_the_source_through_a_link(tmp_path):
    (tmp_path / "scan.zarr").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scan.zarr")
    with pytest.raises(BadInput, match="apart from the source"):
        check_destination(tmp_path / "link" / "out", tmp_path / "scan.zarr")


def test_a_remote_destination(tmp_path):
    with pytest.raises(BadInput, match="a local folder or s3://bucket/name.ome.zarr was wanted"):
        check_destination("https://example.org/out", tmp_path)


def test_a_destination_where_no_folder_can_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DestinationError, match=r"cannot be written to \(Not a directory\)") as caught:
        check_destination(tmp_path / "file" / "out", tmp_path / "source")
    assert caught.value.exit_code == 1


def test_a_read_only_destination(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    with pytest.raises(DestinationError, match="Read-only file system"):
        check_destination(tmp_path / "out", tmp_path / "source")


def test_a_full_disk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(2**40, 2**40 - 2**30, 2**30))
    check_destination(tmp_path / "out", tmp_path / "source", needed_bytes=2**30)
    with pytest.raises(DestinationError, match=r"4.00 GiB of free space were wanted .* got 1.00 GiB"):
        check_destination(tmp_path / "out", tmp_path / "source", needed_bytes=4 * 2**30)


def test_the_estimate_covers_result_pyramid_and_scratch():
    volume = from_array(np.zeros((4, 100, 100), dtype=np.uint16))
    assert estimated_bytes(volume) >= 4 * 100 * 100 * (2 * 4 / 3 + 4)


def test_all_complaints_about_a_destination_come_at_once(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"apart from the source.*is there already"):
        check_destination(tmp_path / "a.npy", tmp_path / "a.npy")
