"""Who holds an archive's night: an owner, and a heart that beats in the books.

BOOKS/running.json   the night at work, its owner, and a count that goes up; removed when it ends in good order

The lock beside it keeps two nights apart on one machine, and in a store. Between machines that share a disk, where a
lock may mean nothing, the beat does: whoever comes looks for a while; a beat seen, and the owner lives. No clocks are
compared.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from ilcore.grammar.errors import Busy
from ilcore.stores.places import Place, remove, write_text

#: Seconds between two beats, and beats that an owner on another machine may miss before it is taken for dead.
BEAT_SECONDS, MISSED_BEATS = 10.0, 3


@dataclass
class Lease:
    """One night's hold on an archive.

    Args:
        place: Of the file.
        night: What is told of the night besides: its name, where it is seen.
        on_loss: Called when another has taken over.
    """

    place: Place
    night: Mapping[str, Any]
    on_loss: Callable[[], None]
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    _beats: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def beat(self) -> bool:
        """Count up; tell whether the lease is still ours."""
        held = read_lease(self.place)
        if self._beats and (held is None or held.get("owner") != self.owner):
            return False
        self._beats += 1
        told = {**self.night, "owner": self.owner, "machine": socket.gethostname(), **_process(), "beat": self._beats}
        write_text(self.place, json.dumps(told, indent=1))
        return True

    def live(self) -> None:
        """Beat until told to stop; a disk or store that does not answer for a while is asked again."""
        while not self._stop.wait(BEAT_SECONDS):
            with suppress(Exception):
                if not self.beat():
                    self.on_loss()
                    return

    def end(self) -> None:
        """Give the lease back."""
        self._stop.set()
        held = read_lease(self.place)
        if held is not None and held.get("owner") == self.owner:
            remove(self.place)


@contextmanager
def leased(place: Place, night: Mapping[str, Any], on_loss: Callable[[], None]) -> Iterator[Mapping[str, Any] | None]:
    """Hold an archive's night; to be called under its lock. Yields what a night left here that never ended.

    Args:
        place: Of the file.
        night: What is told of the night, for people and for those who come later.
        on_loss: Called, in another thread, when another night has taken over.

    Raises:
        Busy: The night of another machine is alive.
    """
    before = read_lease(place)
    # On this machine the lock has told already that it is dead.
    if before is not None and before.get("machine") != socket.gethostname() and is_alive(place, before):
        raise Busy(
            f"one night at a time may work on an archive, got that of {before.get('night')} (process "
            f"{before.get('process')} on {before.get('machine')}), which is alive; wait for it, or stop it"
        )
    lease = Lease(place, night, on_loss)
    lease.beat()
    heart = threading.Thread(target=lease.live, name="lease", daemon=True)
    heart.start()
    try:
        yield before
    finally:
        lease.end()


def read_lease(place: Place) -> dict[str, Any] | None:
    """Return what the file says; None where no night is at work, or nothing can be read."""
    try:
        told = json.loads(place.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def is_alive(place: Place, held: Mapping[str, Any]) -> bool:
    """Tell whether the owner of a lease lives: by its process, or on another machine by its beat, watched for a while.

    Args:
        place: Of the file.
        held: What it said when it was read.
    """
    if held.get("machine") == socket.gethostname():
        return _is_running(held)
    for _ in range(MISSED_BEATS):
        time.sleep(BEAT_SECONDS)
        now = read_lease(place)
        if now is None:
            return False
        if (now.get("owner"), now.get("beat")) != (held.get("owner"), held.get("beat")):
            return True
    return False


def _process() -> dict[str, int | str]:
    return {"process": os.getpid(), "process_since": _since(os.getpid())}


def _since(process: int) -> str:
    """Return when a process began, in words that stay the same when somebody sets the clock.

    Raises:
        NoSuchProcess: psutil's, where there is none.
    """
    try:
        # Ticks since this start of the machine: the hour of it, as psutil tells it, moves with the clock.
        started = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {started}"
    except OSError:
        return str(psutil.Process(process).create_time())


def _is_running(held: Mapping[str, Any]) -> bool:
    try:
        # A number is given to another process some day.
        return _since(int(held["process"])) == held["process_since"]
    except (psutil.Error, KeyError, ValueError, TypeError):
        return False
