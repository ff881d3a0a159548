"""What the machine around a process must offer: folders that can be written, certificates that are there.

What can be helped is helped, in the environment and so for all processes below, and told in one line; what cannot is
one sentence. Nothing heavy is imported here: this comes before everything else.
"""

import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from ilcore.grammar.errors import OutsideError
from tasks.environment.proxies import spare_loopback

#: Less room than this is none: a database of Prefect's alone takes half a megabyte.
ROOM_BYTES = 16 * 2**20
#: Where temporary files may lie, as Python looks for it too, but never in the current folder.
_TEMPORARY = ("/tmp", "/var/tmp", "/usr/tmp")
#: What keeps something below the home folder -> where; each is given another place where that one is of no use.
_KEPT = {"PREFECT_HOME": ".prefect", "XDG_CACHE_HOME": ".cache", "MPLCONFIGDIR": ".config/matplotlib"}
#: Files and folders that must be there where they are named: clients of HTTP cannot be made without.
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

_notes: list[str] = []


def settle() -> None:
    """Give this process, and all below it, what its surroundings lack; `notes` then tells what was done."""
    _notes.extend(spare_loopback())
    _settle_temporary()
    if temporary_folder() is not None:
        _settle_home()


def notes() -> list[str]:
    """Return what was changed for this process, a sentence each; once."""
    told = [*_notes]
    _notes.clear()
    return told


def check() -> None:
    """Refuse to begin where something is missing that cannot be helped.

    Raises:
        OutsideError: In one sentence.
    """
    for trouble in troubles():
        raise OutsideError(trouble)


def troubles() -> Iterator[str]:
    """Yield what is missing that cannot be helped."""
    if not has_folder():
        yield "the current folder must be there, got none; cd to one that is"
    if temporary_folder() is None:
        tried = ", ".join(f"{place} ({_fault_of_temporary(place)})" for place in _candidates())
        yield f"a folder for temporary files must be there, got none in {tried}; set TMPDIR to one with room"
    for name in _CERTIFICATES:
        if (place := os.environ.get(name)) and not os.access(place, os.R_OK):
            yield f"{name} must name certificates that can be read, got {place}; correct it, or unset it"


def has_folder() -> bool:
    """Tell whether the current folder is there."""
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def temporary_folder() -> str | None:
    """Return the first folder for temporary files that is of use; None where none is."""
    return next((place for place in _candidates() if not _fault_of_temporary(place)), None)


def fault_of(folder: str | os.PathLike[str]) -> str:
    """Return why a folder, there or to be made, cannot be written to; empty where it can."""
    # os.path's words: those of pathlib raise where we may not even look.
    place = Path(folder)
    if os.path.lexists(place) and not os.path.isdir(place):
        return "no folder"
    above = next((each for each in (place, *place.parents) if os.path.isdir(each)), None)
    if above is None or str(place).startswith("~") or not os.access(above, os.W_OK | os.X_OK):
        return "not writable" if above == place else "not to be made"
    try:
        room = os.statvfs(above)
    except OSError as error:
        return f"out of reach ({error.strerror})"
    # Some file systems count no inodes.
    is_full = room.f_bavail * room.f_frsize < ROOM_BYTES or (room.f_files and not room.f_favail)
    return "full" if is_full else ""


def own_folder() -> Path:
    """Return where something of the user's is kept that belongs to no result: below home, where that can be written."""
    usual = Path.home() / ".ilcore"
    return _spare() / "ilcore" if fault_of(usual) else usual


def home() -> str | None:
    """Return the home folder; None where there is none."""
    told = os.environ.get("HOME") or _home_of_account()
    return told if told and os.path.isdir(told) else None


def _home_of_account() -> str | None:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None


def _candidates() -> list[str]:
    told = [os.environ[name] for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)]
    try:
        told = [os.path.abspath(place) for place in told]
    except FileNotFoundError:
        # The current folder is gone, from which a relative one would be meant.
        told = []
    return [*told, *_TEMPORARY]


def _fault_of_temporary(place: str) -> str:
    return fault_of(place) if os.path.isdir(place) else "not there"


def _settle_temporary() -> None:
    found, first = temporary_folder(), _candidates()[0]
    if found is not None and found != first:
        _notes.append(f"temporary files go to {found}: {first} is {_fault_of_temporary(first)}")
        os.environ["TMPDIR"] = tempfile.tempdir = found


def _settle_home() -> None:
    there = home()
    os.environ["HOME"] = there or str(_spare())
    moved = {}
    for name, below in _KEPT.items():
        place = os.path.expanduser(os.environ.get(name) or f"~/{below}")
        if not (fault := fault_of(place)):
            continue
        if name == "PREFECT_HOME" and os.path.isfile(profiles := os.path.join(place, "profiles.toml")):
            os.environ.setdefault("PREFECT_PROFILES_PATH", profiles)
        os.environ[name] = str(_spare() / name.lower())
        moved[name] = f"{place} is {fault}"
    if moved:
        _notes.append(f"{', '.join(moved)} kept in {_spare()} this time: {next(iter(moved.values()))}")
    if there is None:
        _notes.append(f"HOME is {_spare()} this time: there is none that is a folder")


@cache
def _spare() -> Path:
    """Return a folder of this user alone, below that for temporary files."""
    place = Path(tempfile.gettempdir()) / f"il-{os.getuid()}"
    with suppress(OSError):
        place.mkdir(mode=0o700, exist_ok=True)
        found = place.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            place.chmod(0o700)
            return place
    # Somebody else took the name.
    return Path(tempfile.mkdtemp(prefix=f"il-{os.getuid()}-"))
