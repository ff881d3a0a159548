"""Is there room for a night? Told before it begins; a scan that cannot fit is not begun, and the rest goes on."""

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ilcore.archives.job_queue import RESUME, RETRY, Job
from ilcore.archives.policy import Archive
from ilcore.grammar.errors import ILError
from ilcore.planning.make import face_of_result, layers_of_result, opened
from ilcore.results.destination import PYRAMID_SHARE, estimated_bytes
from ilcore.stores.addresses import is_remote

#: What is said of a scan that does not fit.
NO_ROOM = "no room"
#: A stored byte is hardly ever so many in scratch and result: with that much room no scan is opened to ask. Whoever
#: prepares a run asks again.
_PLENTY = 200
_GIB = 2**30


def with_room(archive: Archive, items: Sequence[Job]) -> tuple[list[Job], list[str]]:
    """Return the agenda, with scans that cannot fit on the disk of their result put aside, and what is to be told.

    A scan needs room for its tiles in scratch and for its result while it is worked on, and for its result from then
    on; both uncompressed, as nobody knows how well results pack. So what is told of the whole night is the worst case.
    """
    found, told = list[Job](), list[str]()
    free, need, short = dict[int, float](), dict[int, float](), dict[int, int]()
    disks = _disks(items, free)
    for item in items:
        disk = disks.get(item.scan.target)
        if disk is None or not item.is_work or item.todo in (RESUME, RETRY):
            found.append(item)
            continue
        most, after = _bytes(archive, item)
        if most > free[disk]:
            why = f"{most / _GIB:.2f} GiB of free space are needed for it, {free[disk] / _GIB:.2f} GiB are there"
            told.append(f"{item.scan.source}: {why}; free some space, or give results another disk")
            found.append(replace(item, todo=NO_ROOM, why=why))
            continue
        short[disk] = short.get(disk, 0) + (most > free[disk] - need.get(disk, 0.0))
        need[disk] = need.get(disk, 0.0) + after
        found.append(item)
    told += [
        f"the disk of {next(target for target, at in disks.items() if at == disk)} may get full tonight: "
        f"{need[disk] / _GIB:.2f} GiB of results at most, {free[disk] / _GIB:.2f} GiB free; {count} scans would wait"
        for disk, count in short.items() if count
    ]  # fmt: skip
    return found, told


def _disks(items: Sequence[Job], free: dict[int, float]) -> dict[str, int]:
    """Return the disks of the targets on this machine that are short of room, and note what is free on them."""
    disks, sizes = dict[str, int](), dict[int, int]()
    for item in items:
        if item.is_work and not is_remote(item.scan.target):
            folder = _nearest(item.scan.target)
            disk = os.stat(folder).st_dev
            disks[item.scan.target], sizes[disk] = disk, sizes.get(disk, 0) + item.scan.size
            if disk not in free:
                free[disk] = float(shutil.disk_usage(folder).free)
    return {target: disk for target, disk in disks.items() if _PLENTY * sizes[disk] > free[disk]}


def _bytes(archive: Archive, item: Job) -> tuple[float, float]:
    """Return how much a scan needs at most while it is worked on, and from then on; nothing where nobody can tell."""
    try:
        options = item.policy.options.but(roots=archive.roots)
        source = opened(item.scan.source, options)
        volume, layers = face_of_result(source, options), layers_of_result(source, options)
    except (ILError, OSError):
        # Whoever plans it says what is wrong.
        return 0.0, 0.0
    itemsize = volume.dtype.itemsize + sum(np.dtype(layer.dtype).itemsize for layer in layers)
    after = math.prod(volume.shape) * itemsize * PYRAMID_SHARE
    return float(estimated_bytes(volume, layers)), 0.0 if item.replaces else after


def _nearest(target: str) -> str:
    return str(next(folder for folder in Path(target).parents if folder.exists()))
