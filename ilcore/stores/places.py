"""Places: a folder on this machine, or a prefix in an object store, with the same words for both.

A store is named by its URL alone. Endpoint, region, profile and credentials come from the environment of whatever
process opens it, so a place can be pickled, printed and written into a plan. What we decide here is only patience.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from fsspec.config import conf
from upath import UPath

from ilcore.grammar.errors import StoreError
from ilcore.stores.addresses import is_remote, normalised, protocols

Place: TypeAlias = Path | UPath
Answer = TypeVar("Answer")

S3 = ("s3", "s3a")
#: Attempts of one request to S3. Waits double up to 20 s with jitter: 15 of them bridge an outage of at least a minute.
ATTEMPTS, HASTY_ATTEMPTS = 16, 2
CONNECT_SECONDS, READ_SECONDS, HASTY_SECONDS = 5, 30, 3
#: Waits between attempts over HTTP, for which the library below has no retries: about as long together.
WAITS_SECONDS = (0.5, 1, 2, 4, 8, 16, 16, 16)
#: The same for the first question, which is to be told soon.
HASTY_WAITS_SECONDS = (0.5, 1, 2)
#: Answers over HTTP after which it is worth to ask again.
_PASSING = frozenset({429, 500, 502, 503, 504})


def place_of(uri: "str | os.PathLike[str] | UPath", *, is_patient: bool = True) -> Place:
    """Return a place by its path or URL.

    Args:
        uri: Path or URL.
        is_patient: Whether an outage of a minute is waited for, or told at once.

    Raises:
        BadInput: The URL carries credentials.
    """
    address = normalised(str(uri))
    return UPath(address, **storage_options(address, is_patient=is_patient)) if is_remote(address) else Path(address)


def storage_options(url: str, *, is_patient: bool = True) -> dict[str, Any]:
    """Return the options with which fsspec shall open a URL: timeouts and retries, never credentials."""
    named = protocols(url)
    if "::" not in url:
        return _options(named[0], is_patient) if named else {}
    return {protocol: options for protocol in named if (options := _options(protocol, is_patient))}


def opened_by(place: "str | Place", more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what Zarr wants to open a place: `zarr.open_array(**opened_by(place))`.

    Always a URL, never a file system object: a synchronous one cannot be used from Zarr's own event loop.

    Args:
        place: Path or URL.
        more: Options of the caller's, which win over ours.
    """
    address = str(place)
    options = {**(storage_options(address) if is_remote(address) else {}), **(more or {})}
    return {"store": address, "storage_options": options or None}


def write_text(place: Place, text: str) -> None:
    """Write a file or an object in one step: readers see the old content or the new one."""
    write_bytes(place, text.encode())


def write_bytes(place: Place, content: bytes) -> None:
    """Write a file or an object in one step: readers see the old content or the new one."""
    if isinstance(place, Path):
        partial = place.with_name(place.name + ".partial")
        partial.write_bytes(content)
        partial.replace(place)
    else:
        place.fs.pipe_file(place.path, content)


def make_folder(place: Place) -> None:
    """Make a folder where there are folders; in a store names alone make them."""
    if isinstance(place, Path):
        place.mkdir(parents=True, exist_ok=True)


def remove(place: Place) -> None:
    """Remove a file, an object, or everything below a name; nothing where there is nothing."""
    if isinstance(place, Path):
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        return
    try:
        place.fs.rm(place.path, recursive=True)
    except FileNotFoundError:
        return


def entries(place: Place) -> list[Any]:
    """Return what lies directly in a place; nothing where the place is not there."""
    try:
        return sorted(place.iterdir(), key=lambda each: each.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_there(place: Place) -> bool:
    """Tell whether a file or folder is there, or an object below a name: some stores keep names of what was removed."""
    if isinstance(place, Path):
        return place.exists()
    # Most often these are there, and nobody has to list thousands of chunks.
    if place.is_file() or any((place / name).exists() for name in ("zarr.json", "0/zarr.json")):
        return True
    # Where only the name is left, it is all that is found below it.
    own = place.path.rstrip("/")
    return any(found.rstrip("/") != own for found in place.fs.find(place.path))


@contextmanager
def at_hand(place: Place) -> Iterator[Path]:
    """Lend a local file with the content of a place, for libraries that know nothing else.

    Raises:
        FileNotFoundError: There is none.
    """
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="il-") as folder:
        copy = Path(folder) / place.name
        copy.write_bytes(place.read_bytes())
        yield copy


@contextmanager
def put_by(place: Place) -> Iterator[Path]:
    """Lend a local file whose content is put into a place in the end, for libraries that know nothing else."""
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="il-") as folder:
        made = Path(folder) / place.name
        yield made
        write_bytes(place, made.read_bytes())


@contextmanager
def answered() -> Iterator[None]:
    """Turn a store's trouble into one sentence.

    Raises:
        StoreError: The store did not answer, or refused.
    """
    try:
        yield
    except Exception as error:
        if (told := trouble(error)) is None:
            raise
        raise told from error


def check_answers(uri: str) -> None:
    """Refuse at once a store that does not answer, or refuses us, before anybody waits for it patiently.

    Raises:
        BadInput: The URL carries credentials.
        StoreError: It does not answer, or refuses us.
    """
    place = place_of(uri, is_patient=False)
    if not isinstance(place, Path) and protocols(str(place))[0] in S3:
        with answered():
            place.exists()


def trouble(error: BaseException) -> StoreError | None:
    """Return what to say of a store's trouble, or None where an error is something else."""
    cause = _cause(error)
    if cause is None:
        return None
    # An endpoint may have been given with a name and a password in it.
    told = re.sub(r"//[^/@\s]*@", "//", str(cause))
    return StoreError(
        f"an object store that answers was wanted, got {type(cause).__name__}: {told}; check that it runs, and "
        "endpoint, region and credentials in the environment (AWS_ENDPOINT_URL, AWS_PROFILE ...), then run again"
    )


def patiently(call: Callable[[], Answer], *, is_patient: bool = True) -> Answer:
    """Return what a call over HTTP returns, tried again while the server does not answer, or not for now."""
    from aiohttp import ClientError, ClientResponseError

    for wait in WAITS_SECONDS if is_patient else HASTY_WAITS_SECONDS:
        try:
            return call()
        except (ClientError, TimeoutError) as error:
            if isinstance(error, ClientResponseError) and error.status not in _PASSING:
                raise
            time.sleep(wait)
    return call()


def _options(protocol: str, is_patient: bool) -> dict[str, Any]:
    if protocol in S3:
        seconds = (CONNECT_SECONDS, READ_SECONDS) if is_patient else (HASTY_SECONDS, HASTY_SECONDS)
        attempts = ATTEMPTS if is_patient else HASTY_ATTEMPTS
        config = {
            "connect_timeout": seconds[0], "read_timeout": seconds[1],
            "retries": {"mode": "standard", "total_max_attempts": attempts},
        }  # fmt: skip
        # A listing that is remembered hides what other processes write. What the user's own configuration of fsspec
        # says of the client wins whole, and is left there: these options travel with a place, its may hold secrets.
        own = "config_kwargs" in conf.get("s3", {})
        return {"use_listings_cache": False} | ({} if own else {"config_kwargs": config})
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        return {"client_kwargs": {"timeout": ClientTimeout(connect=CONNECT_SECONDS, sock_read=READ_SECONDS)}}
    return {}


def _cause(error: BaseException) -> BaseException | None:
    """Return the error of the client library that an error is, or was made of."""
    from aiohttp import ClientError as HttpError
    from botocore.exceptions import BotoCoreError, ClientError

    # "There is none" is an answer.
    seen: BaseException | None = None if isinstance(error, FileNotFoundError) else error
    while seen is not None:
        if isinstance(seen, BotoCoreError | ClientError | HttpError):
            return seen
        seen = seen.__cause__
    return None
