"""A lock in an object store: one object, written on conditions, with a heart that beats.

    holder   creates the object if it is not there (If-None-Match: *), then replaces its own object every few seconds
             (If-Match), counting up; whoever finds another's object in its place has lost the lock
    others   look at the object for a while: one beat seen, the holder lives; none, they replace it (If-Match)

No two clocks are compared: the watcher counts its own looks, each of which the store answered.
"""

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fsspec.asyn import sync
from upath import UPath

from ilcore.grammar.errors import Busy, StoreError
from ilcore.stores.places import answered, place_of, remove

#: Seconds between two beats, and looks without a beat after which a holder is taken for dead.
BEAT_SECONDS, LOOKS = 3.0, 10
#: A holder that could not beat for so many intervals asks the store before it goes on.
DOUBT = 3
#: What a store answers whose object is not as the condition says.
#: The last is for an object that is to be replaced and was removed.
_REFUSALS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409", "NoSuchKey")


@dataclass
class StoreLock:
    """One attempt to hold a place.

    Args:
        place: The object.
        what: What is locked, for messages.
    """

    place: UPath
    what: str
    holder: str = field(default_factory=lambda: uuid.uuid4().hex)
    _beats: int = 0
    _etag: str = ""
    _seen: float = 0.0
    _is_lost: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _heart: threading.Thread | None = None

    def take(self) -> None:
        """Take the lock; a holder that seems dead is watched for `LOOKS` beats before its lock is taken over.

        Raises:
            Busy: Another holds it and lives.
            StoreError: The store does not answer.
        """
        with answered():
            while not self._taken():
                pass
            self._check_conditions()
        self._heart = threading.Thread(target=self._live, name="lock", daemon=True)
        self._heart.start()

    def _check_conditions(self) -> None:
        # A store that does not know conditions writes all the same, and would let everybody in.
        if self._put(self.place, {"holder": None}, IfNoneMatch="*") is not None:
            raise StoreError(
                f"a store that refuses to write on a condition (If-None-Match) was wanted for {self.what}, got one "
                "that writes all the same, so that two runs could not be kept apart; use another store, or a newer one"
            )

    def check(self, *, is_sure: bool = False) -> None:
        """Stop here if the lock was lost; asks the store where the heart could not beat for a while.

        Args:
            is_sure: Ask the store in any case, before something that cannot be taken back.

        Raises:
            Busy: Another run has taken over.
            StoreError: The store does not answer.
        """
        if not self._is_lost and (is_sure or _now() - self._seen > DOUBT * BEAT_SECONDS):
            with answered():
                self._beat(self.place)
        if self._is_lost:
            raise Busy(
                f"one run at a time may work on {self.what}, got another that took over while this one could not reach "
                "the store; let it go on, or stop it and resume"
            )

    def release(self, *, is_last: bool = False) -> None:
        """Give the lock back; never raises, for the work is done.

        Args:
            is_last: Remove the object too.
        """
        self._stop.set()
        if self._heart is not None:
            self._heart.join()
        with suppress(Exception):
            if not self._is_lost and is_last:
                remove(self.place)
            elif not self._is_lost:
                self._put(self.place, {"holder": None}, IfMatch=self._etag)

    def _taken(self) -> bool:
        """Try once; tell whether it is ours now."""
        found = self._look()
        if found is None:
            return self._write(self.place, IfNoneMatch="*")
        etag, held = found
        if held.get("holder") == self.holder:
            # The answer to our own writing was lost.
            self._etag, self._seen = etag, _now()
            return True
        return (held.get("holder") is None or self._is_dead(etag, held)) and self._write(self.place, IfMatch=etag)

    def _is_dead(self, etag: str, held: dict[str, Any]) -> bool:
        for _ in range(LOOKS):
            time.sleep(BEAT_SECONDS)
            found = self._look()
            if found is None:
                return False
            if found[0] != etag and found[1].get("holder") is not None:
                raise Busy(
                    f"one run at a time may work on {self.what}, got another (process {held.get('process')} on "
                    f"{held.get('machine')}); wait for it, or stop it"
                )
            if found[0] != etag:
                return False
        return True

    def _live(self) -> None:
        # A client of its own that gives up soon: what counts is when the last beat was heard.
        place = place_of(str(self.place), is_patient=False)
        while not self._stop.wait(BEAT_SECONDS) and not self._is_lost:
            with suppress(Exception):
                self._beat(place)

    def _beat(self, place: Any) -> None:
        with self._turn:
            self._is_lost = self._is_lost or not self._write(place, IfMatch=self._etag)

    def _write(self, place: Any, **condition: str) -> bool:
        """Write our object if the condition holds; tell whether ours is what lies there now."""
        before, self._beats = _now(), self._beats + 1
        mine = {"holder": self.holder, "beat": self._beats, "machine": socket.gethostname(), "process": os.getpid()}
        etag = self._put(place, mine, **condition)
        if etag is None:
            found = self._look(place)
            # Our own object: its writing was repeated because the first answer got lost.
            etag = found[0] if found is not None and found[1].get("holder") == self.holder else None
        if etag is not None:
            self._etag, self._seen = etag, before
        return etag is not None

    def _put(self, place: Any, content: dict[str, Any], **condition: str) -> str | None:
        bucket, _, key = place.path.partition("/")
        try:
            body = json.dumps(content).encode()
            told = place.fs.call_s3("put_object", Bucket=bucket, Key=key, Body=body, **condition)
        except OSError as error:
            if is_refusal(error):
                return None
            raise
        return str(told["ETag"])

    def _look(self, place: Any = None) -> tuple[str, dict[str, Any]] | None:
        place = place or self.place
        bucket, _, key = place.path.partition("/")
        try:
            # Content and tag of the same moment: two requests could see two objects.
            content, told = _fetched(place.fs, bucket, key)
        except FileNotFoundError:
            return None
        try:
            held = json.loads(content)
        except ValueError:
            held = {}
        return told, held if isinstance(held, dict) else {}


def is_refusal(error: BaseException) -> bool:
    """Tell whether a store refused to write because its condition does not hold."""
    said = getattr(error.__cause__, "response", {})
    return said.get("Error", {}).get("Code") in _REFUSALS


def _fetched(files: Any, bucket: str, key: str) -> tuple[bytes, str]:
    async def fetch() -> tuple[bytes, str]:
        told = await files._call_s3("get_object", Bucket=bucket, Key=key)
        async with told["Body"] as body:
            return await body.read(), str(told["ETag"])

    return sync(files.loop, fetch)


def _now() -> float:
    # Goes on while the machine sleeps, and knows no wrong hour.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
