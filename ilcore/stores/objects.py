"""Object stores that fsspec knows: no folders, nothing is renamed, and some write on a condition."""

import hashlib
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from upath import UPath

from ilcore.grammar.errors import DestinationError
from ilcore.stores.store import Place

#: What a store answers whose object is not as the condition says.
#: The last is for an object that is to be replaced and was removed.
_REFUSALS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409", "NoSuchKey")
#: Levels of images, the groups around them: most often these are there, and nobody has to list thousands of chunks.
_ROOTS = ("zarr.json", "0/zarr.json")


class ObjectStore:
    """Any store that is read by URL."""

    renames = False
    is_waited_for = True

    def takes_results(self, place: Place) -> bool:
        return False

    def read_bytes(self, place: Place) -> bytes:
        return bytes(_there(place).fs.cat_file(_there(place).path))

    def write_bytes(self, place: Place, content: bytes) -> None:
        _there(place).fs.pipe_file(_there(place).path, content)

    def make_folder(self, place: Place) -> None:
        return

    def remove(self, place: Place) -> None:
        with suppress(FileNotFoundError):
            _there(place).fs.rm(_there(place).path, recursive=True)

    def discard(self, place: Place) -> None:
        self.remove(place)

    def remove_halves(self, place: Place) -> None:
        return

    def is_there(self, place: Place) -> bool:
        if place.is_file() or any((place / name).exists() for name in _ROOTS):
            return True
        # Some stores keep names of what was removed: where only the name is left, it is all that is found below it.
        own = _there(place).path.rstrip("/")
        return any(found.rstrip("/") != own for found in _there(place).fs.find(own))

    def size(self, place: Place) -> int:
        return int(_there(place).fs.du(_there(place).path))

    def stamp(self, place: Place) -> object:
        return None

    def half_made(self, place: Place) -> Place:
        return place

    def give_name(self, half: Place, place: Place) -> None:
        return

    @contextmanager
    def at_hand(self, place: Place) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="il-") as folder:
            copy = Path(folder) / place.name
            copy.write_bytes(self.read_bytes(place))
            yield copy

    @contextmanager
    def put_by(self, place: Place) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="il-") as folder:
            made = Path(folder) / place.name
            yield made
            self.write_bytes(place, made.read_bytes())

    def check_writable(self, place: Place) -> None:
        probe = place.with_name(f"{place.name}.il") / "probe"
        try:
            self.write_bytes(probe, b"")
            self.remove(probe)
        except FileNotFoundError as error:
            raise DestinationError(
                f"a bucket to write to was wanted for {place}; got {error}; make it, or choose another destination"
            ) from error

    def free_bytes(self, place: Place) -> int | None:
        return None


class S3(ObjectStore):
    """Amazon's store, and whatever speaks its language."""

    def takes_results(self, place: Place) -> bool:
        return bool(_there(place).path.strip("/").partition("/")[2])

    def read_bytes(self, place: Place) -> bytes:
        # One request: an object that is opened, or read in parts, may be replaced between two of them.
        return bytes(_there(place).fs.cat_file(_there(place).path, max_concurrency=1))

    def read_tagged(self, place: Place) -> tuple[bytes, str] | None:
        from s3fs.utils import FileExpired

        with suppress(FileNotFoundError):
            while True:
                # The file is read on condition that it has its tag still: both are of the same moment.
                with suppress(FileExpired), _there(place).fs.open(_there(place).path, "rb") as file:
                    return file.read(), str(file.details["ETag"])
        return None

    def write_if(self, place: Place, content: bytes, tag: str | None) -> str | None:
        condition = {"mode": "create"} if tag is None else {"IfMatch": tag}
        try:
            told = _there(place).fs.pipe_file(_there(place).path, content, **condition)
        except OSError as error:
            if is_refusal(error):
                return None
            raise
        return str(told["ETag"])


class Memory(ObjectStore):
    """The memory of this process, under `memory://`: nobody else sees it, so no result is written there."""

    _turn = threading.Lock()

    def read_tagged(self, place: Place) -> tuple[bytes, str] | None:
        with suppress(FileNotFoundError):
            content = self.read_bytes(place)
            return content, hashlib.sha256(content).hexdigest()
        return None

    def write_if(self, place: Place, content: bytes, tag: str | None) -> str | None:
        with self._turn:
            found = self.read_tagged(place)
            if (found[1] if found else None) != tag:
                return None
            self.write_bytes(place, content)
        return hashlib.sha256(content).hexdigest()


def is_refusal(error: BaseException) -> bool:
    """Tell whether a store refused to write because its condition does not hold."""
    said = getattr(error.__cause__, "response", {})
    return said.get("Error", {}).get("Code") in _REFUSALS


def _there(place: Place) -> Any:
    return cast(UPath, place)
