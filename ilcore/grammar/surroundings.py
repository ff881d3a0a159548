"""Whether an error is a fault of the surroundings (a store, a disk, a server, a node) or of what was asked.

A fault of the surroundings says nothing of the scan that met it: the same work is tried again later.
"""

import errno
from collections.abc import Iterator

from ilcore.grammar.errors import ILError, OutsideError

#: What the operating system says of disks, mounts, networks and limits of a process.
_CODES = frozenset({
    errno.EACCES, errno.EAGAIN, errno.EBUSY, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EDQUOT,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EIO, errno.EMFILE, errno.ENETDOWN, errno.ENETUNREACH, errno.ENFILE,
    errno.ENODEV, errno.ENOMEM, errno.ENOSPC, errno.ENOTCONN, errno.ENXIO, errno.EPERM, errno.EPIPE,
    errno.EROFS, errno.ESHUTDOWN, errno.ESTALE, errno.ETIMEDOUT,
})  # fmt: skip
#: Libraries that talk to somebody else: what they raise themselves is about that.
_TALKERS = frozenset({
    "aiobotocore", "aiohttp", "anyio", "asyncpg", "botocore", "distributed", "fsspec", "httpcore", "httpx", "mlflow",
    "prefect", "requests", "s3fs", "sqlalchemy", "sqlite3", "urllib3",
})  # fmt: skip


def is_outside(error: BaseException) -> bool:
    """Tell whether an error comes from the surroundings: store, tracking, scheduler, disk, memory, permissions.

    Args:
        error: As it was raised; what it was raised from counts too.
    """
    return any(_is_one(each) for each in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    here: BaseException | None = error
    while here is not None and id(here) not in seen:
        seen.add(id(here))
        yield here
        here = here.__cause__ or (None if here.__suppress_context__ else here.__context__)


def _is_one(error: BaseException) -> bool:
    if isinstance(error, OutsideError | MemoryError | TimeoutError | ConnectionError):
        return True
    if isinstance(error, ILError):
        return False
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _CODES
    # The name and not the type: torch is heavy, and the others may not be installed.
    kind = type(error)
    return kind.__name__ == "OutOfMemoryError" or kind.__module__.partition(".")[0] in _TALKERS
