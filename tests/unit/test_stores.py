"""Addresses and places: what a URL may say, what travels with a place, and what is read from any store."""

import pickle
import zipfile

import numpy as np
import pytest
import zarr
from botocore.exceptions import EndpointConnectionError
from fsspec.config import conf

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput, BadVolume, DestinationError, StoreError
from ilcore.results import destination
from ilcore.running.workspace import Workspace
from ilcore.stores.addresses import is_remote, joined, normalised
from ilcore.stores.places import (
    answered,
    at_hand,
    entries,
    place_of,
    put_by,
    remove,
    storage_options,
    trouble,
    write_text,
)

SECRETS = (
    "s3://AKIAEXAMPLE:hush/hush@bucket/scan.zarr",
    "https://me:hush@example.org/scan.zarr",
    "https://example.org/scan.zarr?X-Amz-Signature=hush&X-Amz-Expires=60",
    "https://account.blob.example.org/scan.zarr?sv=2024&sig=hush",
    "zip://scan.zarr::https://example.org/scan.zip?token=hush",
    "simplecache::s3://key:hush@bucket/scan.zarr",
)


@pytest.mark.parametrize("url", SECRETS)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url):
    for use in (open_volume, Workspace.of, place_of):
        with pytest.raises(BadInput, match="a URL without credentials was wanted") as refused:
            use(url)
        assert "hush" not in str(refused.value)


@pytest.mark.parametrize("url", ["s3://bucket/mail@home/scan.zarr", "https://example.org/a.zarr?version=3&page=1"])
def test_other_urls_are_not(url):
    assert normalised(url) == url


def test_where_a_place_is():
    assert is_remote("s3://bucket/a.zarr")
    assert is_remote("simplecache::https://example.org/a.zarr")
    assert not is_remote("/data/a::b.zarr")
    assert not is_remote("file:///data/a.zarr")
    assert normalised("s3://bucket/a.zarr/") == "s3://bucket/a.zarr"
    assert joined("s3://bucket/a.zarr/", "0") == "s3://bucket/a.zarr/0"
    assert joined("zip://a.zarr::s3://bucket/a.zip", "0") == "zip://a.zarr/0::s3://bucket/a.zip"
    assert joined("zip://::s3://bucket/a.zip", "0") == "zip://0::s3://bucket/a.zip"


@pytest.mark.parametrize("url", ["https://example.org/a.zarr", "gs://bucket/a.zarr", "s3://bucket", "s3://bucket/"])
def test_a_result_is_written_to_a_disk_or_a_name_in_a_bucket(url):
    with pytest.raises(BadInput, match="s3://bucket/name.ome.zarr was wanted"):
        Workspace.of(url)


def test_a_bucket_that_is_not_there_is_told(monkeypatch):
    def missing(*_):
        raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(destination, "entries", lambda _: [])
    monkeypatch.setattr(destination, "write_text", missing)
    monkeypatch.setattr(type(destination.place_of("s3://a/b")), "is_file", lambda _: False)
    with pytest.raises(DestinationError, match="a bucket to write to was wanted"):
        destination.check_destination("s3://no-such-bucket/out.ome.zarr")


def test_what_travels_with_a_place_is_no_secret(monkeypatch):
    monkeypatch.setitem(conf, "s3", {"key": "hush", "secret": "hush", "config_kwargs": {"proxies": {"http": "hush"}}})
    workspace = Workspace.of("s3://bucket/out.ome.zarr")
    assert b"hush" not in pickle.dumps(workspace)
    assert "hush" not in str(storage_options("s3://bucket/out.ome.zarr"))
    assert str(pickle.loads(pickle.dumps(workspace)).ledger) == "s3://bucket/out.ome.zarr.il/ledger.zarr"


def test_a_public_bucket_wants_no_credentials(monkeypatch):
    monkeypatch.setitem(conf, "s3", {"anon": "true"})
    assert place_of("s3://public/a.zarr").fs.anon


def test_what_a_store_answers_is_told_without_the_name_and_password_of_its_endpoint():
    error = EndpointConnectionError(endpoint_url="http://me:hush@127.0.0.1:9/bucket/a")
    with pytest.raises(StoreError, match="127.0.0.1:9/bucket/a") as told, answered():
        raise error
    assert "hush" not in str(told.value)
    assert trouble(FileNotFoundError("there is none")) is None


def test_places_have_the_same_words_here_and_in_a_store(tmp_path):
    for root in (place_of(tmp_path / "a"), place_of("memory://places/a")):
        if not is_remote(root):
            root.mkdir()
        write_text(root / "note", "one")
        write_text(root / "note", "two")
        assert (root / "note").read_text() == "two"
        with put_by(root / "made.bin") as file:
            file.write_bytes(b"made")
        with at_hand(root / "made.bin") as file:
            assert file.read_bytes() == b"made"
        assert [place.name for place in entries(root)] == ["made.bin", "note"]
        remove(root)
        remove(root)
        assert entries(root) == []


def test_a_zarr_in_a_zip_file_and_one_in_any_store_are_read(tmp_path):
    values = np.arange(24, dtype="u2").reshape(4, 6)
    zarr.save_array(str(tmp_path / "a.zarr"), values)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for path in (tmp_path / "a.zarr").rglob("*"):
            packed.write(path, path.relative_to(tmp_path))
    memory = zarr.open_array(store="memory://any/a.zarr", mode="w", shape=values.shape, dtype="u2")
    memory[:] = values
    for url in (f"zip://a.zarr::file://{tmp_path}/a.zip", "memory://any/a.zarr"):
        volume = open_volume(url)
        found = pickle.loads(pickle.dumps(volume)).read(((0, 1),) * 3 + ((0, 4), (0, 6)))
        np.testing.assert_array_equal(found[0, 0, 0], values)
    with pytest.raises(BadVolume, match="there is none"):
        open_volume("memory://any/b.zarr")
