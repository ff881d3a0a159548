"""Several requests to a store at once: most of what it takes to answer is waiting. A disk is asked one by one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from ilcore.stores.addresses import is_remote
from ilcore.stores.places import Place

Given = TypeVar("Given")
Answer = TypeVar("Answer")

#: Requests under way at once. More of them gain little: Zarr asks for all chunks of one region at once by itself.
AT_ONCE = 4


def abreast(
    work: Callable[[Given], Answer], items: Iterable[Given], place: str | Place, at_once: int = AT_ONCE
) -> Iterator[Answer]:
    """Yield the answer for each item, in order; of a place over the network, while the next few are under way.

    The first is worked on alone, by the caller's thread: what is opened on first use is opened once.
    """
    if not is_remote(str(place)):
        yield from map(work, items)
        return
    left = iter(items)
    for first in islice(left, 1):
        yield work(first)
    with ThreadPoolExecutor(at_once) as pool:
        waiting: deque[Future[Answer]] = deque()
        for item in left:
            waiting.append(pool.submit(work, item))
            if len(waiting) > at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
