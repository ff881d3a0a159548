"""Places: a folder on this machine, or a prefix in an object store, with the same words for both.

A store is named by its URL alone. Endpoint, region, profile and credentials come from the environment of whatever
process opens it, so a place can be pickled, printed and written into a plan. What we decide here is only patience.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fsspec.config import conf
from upath import UPath

from ilcore.grammar.errors import StoreError
from ilcore.stores.addresses import is_remote, normalised, protocols
from ilcore.stores.disk import Disk
from ilcore.stores.objects import S3, Memory, ObjectStore
from ilcore.stores.store import Place, Store

Answer = TypeVar("Answer")

S3_PROTOCOLS = ("s3", "s3a")
#: Attempts of one request to S3. Waits double up to 20 s with jitter: 15 of them bridge an outage of at least a minute.
ATTEMPTS, HASTY_ATTEMPTS = 16, 2
CONNECT_SECONDS, READ_SECONDS, HASTY_SECONDS = 5, 30, 3
#: Waits between attempts over HTTP, for which the library below has no retries: about as long together.
WAITS_SECONDS = (0.5, 1, 2, 4, 8, 16, 16, 16)
#: The same for the first question, which is to be told soon.
HASTY_WAITS_SECONDS = (0.5, 1, 2)
#: Answers over HTTP after which it is worth to ask again.
_PASSING = frozenset({429, 500, 502, 503, 504})
_DISK, _OTHERS = Disk(), ObjectStore()
_STORES: dict[str, Store] = {"memory": Memory(), **dict.fromkeys(S3_PROTOCOLS, S3())}


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


def store_of(place: "str | Place") -> Store:
    """Return what a place lies in, by its address alone."""
    address = str(place)
    if not is_remote(address):
        return _DISK
    return _STORES.get(next(iter(protocols(address)), ""), _OTHERS) if "::" not in address else _OTHERS


def read_text(place: Place) -> str:
    """Return the text of a file or an object as it was at one moment, whoever writes meanwhile.

    Raises:
        FileNotFoundError: There is none.
    """
    return read_bytes(place).decode()


def read_bytes(place: Place) -> bytes:
    """Return the content of a file or an object as it was at one moment, whoever writes meanwhile.

    Raises:
        FileNotFoundError: There is none.
    """
    return store_of(place).read_bytes(place)


def write_text(place: Place, text: str) -> None:
    """Write a file or an object in one step: readers see the old content or the new one."""
    store_of(place).write_bytes(place, text.encode())


def write_bytes(place: Place, content: bytes) -> None:
    """Write a file or an object in one step: readers see the old content or the new one."""
    store_of(place).write_bytes(place, content)


def make_folder(place: Place) -> None:
    """Make a folder where there are folders; in a store names alone make them."""
    store_of(place).make_folder(place)


def remove(place: Place) -> None:
    """Remove a file, an object, or everything below a name; nothing where there is nothing."""
    store_of(place).remove(place)


def entries(place: Place) -> list[Any]:
    """Return what lies directly in a place; nothing where the place is not there."""
    try:
        return sorted(place.iterdir(), key=lambda each: each.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_there(place: Place) -> bool:
    """Tell whether a file or folder is there, or an object below a name: some stores keep names of what was removed."""
    return store_of(place).is_there(place)


def size_of(place: Place) -> int:
    """Return the bytes of a file, or of all files below a folder or a name."""
    return store_of(place).size(place)


def at_hand(place: Place) -> AbstractContextManager[Path]:
    """Lend a local file with the content of a place, for libraries that know nothing else.

    Raises:
        FileNotFoundError: There is none.
    """
    return store_of(place).at_hand(place)


def put_by(place: Place) -> AbstractContextManager[Path]:
    """Lend a local file whose content is put into a place in the end, for libraries that know nothing else."""
    return store_of(place).put_by(place)


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
    if next(iter(protocols(str(place))), None) in S3_PROTOCOLS:
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
    if protocol in S3_PROTOCOLS:
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
