"""Folders and files of this machine, or of a disk that several share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ilcore.grammar.errors import DestinationError
from ilcore.stores.store import Place

#: How a name ends while what it is for is not whole.
PARTIAL = ".partial"


class Disk:
    """A disk: one system call gives a name."""

    renames = True
    is_waited_for = False

    def takes_results(self, place: Place) -> bool:
        return True

    def read_bytes(self, place: Place) -> bytes:
        return _here(place).read_bytes()

    def write_bytes(self, place: Place, content: bytes) -> None:
        half = self.half_made(place)
        half.write_bytes(content)
        half.replace(_here(place))

    def make_folder(self, place: Place) -> None:
        place.mkdir(parents=True, exist_ok=True)

    def remove(self, place: Place) -> None:
        here = _here(place)
        if here.is_dir() and not here.is_symlink():
            shutil.rmtree(here)
        else:
            here.unlink(missing_ok=True)

    def discard(self, place: Place) -> None:
        shutil.rmtree(_here(place), ignore_errors=True)

    def remove_halves(self, place: Place) -> None:
        for half in _here(place).rglob(f"*{PARTIAL}"):
            half.unlink()

    def is_there(self, place: Place) -> bool:
        return place.exists()

    def size(self, place: Place) -> int:
        here = _here(place)
        if not here.is_dir():
            return here.lstat().st_size
        return sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(here) for name in names)

    def stamp(self, place: Place) -> object:
        here = _here(place)
        if not here.is_file():
            return None
        told = here.stat()
        return told.st_mtime_ns, told.st_size, told.st_ino

    def half_made(self, place: Place) -> Path:
        here = _here(place)
        return here.with_name(here.name + PARTIAL)

    def give_name(self, half: Place, place: Place) -> None:
        _here(half).rename(_here(place))

    @contextmanager
    def at_hand(self, place: Place) -> Iterator[Path]:
        yield _here(place)

    @contextmanager
    def put_by(self, place: Place) -> Iterator[Path]:
        yield _here(place)

    def check_writable(self, place: Place) -> None:
        parent = _nearest(_here(place).parent)
        try:
            with tempfile.TemporaryDirectory(dir=parent, prefix=".il-probe-"):
                return
        except OSError as error:
            raise DestinationError(
                f"a folder to write to was wanted for {place}; {parent} cannot be written to ({error.strerror}); "
                "choose another destination or ask for write permission"
            ) from error

    def free_bytes(self, place: Place) -> int | None:
        return shutil.disk_usage(_nearest(_here(place).parent)).free


def _nearest(folder: Path) -> Path:
    # What is not there is made when it is needed.
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _here(place: Place) -> Path:
    return Path(str(place))
