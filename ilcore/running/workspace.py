"""The folder beside a target where a run lives until it is published, and its lock.

TARGET              appears complete, in one step, when the verdict allows it
TARGET.il/
  lock              held by the one run that works here; the system releases it however that run ends, in a store
                    it is free again once its holder shows no life
  plan.yaml         what is done; plan.copy.yaml stands in for it where it is lost
  weights/          pretrained weights, and the model learnt on the volume
  ledger.zarr       what is done so far, tile by tile
  scratch.zarr      restored tiles; removed when published
  staging.ome.zarr  the result in the making, without root metadata; in a store it lies under the target, and
  generation        says there as what
  qa.ome.zarr       QA maps at tile resolution
  report.html, record.json, pictures/
  null-test.json, null-test.npz   what the method made of noise alone
  damage.json       what `il verify` found, for `il resume`
  metadata.json     the metadata of the result as they were published
  devices.json      what kinds of device the run was carried out on, one after the other
  overwrite         there while the run may replace an earlier result
  untracked/        records that MLflow did not take, to be sent later; they outlive the run
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from upath import UPath

from ilcore.grammar.commands import command
from ilcore.grammar.errors import BadPlan, Busy, DestinationError
from ilcore.planning.begun import PLAN, PLAN_COPY, check_begun, root_of
from ilcore.planning.plan import RestorationPlan, read_plan
from ilcore.results.destination import place_of_result
from ilcore.results.generations import lead_to, new_generation, published_generation, sweep
from ilcore.stores.places import Place, answered, entries, remove, write_text
from ilcore.stores.store_lock import StoreLock

__all__ = ["Workspace", "give_back_locks", "write_text"]

#: The locks in stores that this process holds, by their places.
_HELD: dict[str, StoreLock] = {}


@dataclass(frozen=True)
class Workspace:
    """Places beside one target: on this machine, or in the object store that holds the target."""

    target: Place

    @classmethod
    def of(cls, target: str | os.PathLike[str]) -> "Workspace":
        """Return the workspace of a target, made absolute.

        Raises:
            BadInput: When the target is neither a local folder nor a name in a bucket.
        """
        return cls(place_of_result(target))

    @property
    def root(self) -> Place:
        """Return the folder."""
        return root_of(self.target)

    @property
    def staging(self) -> Place:
        """Return where the result in the making lies: on a disk beside the target, in a store under it.

        Nothing can be renamed in a store; a note in the workspace says which generation of the target is in the making.
        """
        if isinstance(self.target, Path):
            return self.root / "staging.ome.zarr"
        try:
            return self.target / self.generation.read_text()
        except FileNotFoundError:
            return self.target / "none"

    @property
    def published(self) -> Place:
        """Return where the levels of the published result lie: in the target, in a store in a folder of it."""
        return self.target if isinstance(self.target, Path) else published_generation(self.target)

    def show_published(self) -> None:
        """Lead readers to the published result again; on a disk they find it where it lies."""
        if not isinstance(self.target, Path):
            lead_to(cast(UPath, self.published), self.target)

    def __getattr__(self, name: str) -> Place:
        if name not in _PLACES:
            raise AttributeError(f"a workspace has {', '.join(_PLACES)}; got {name!r}")
        return self.root / _PLACES[name]

    def plan_of_run(self) -> RestorationPlan:
        """Read the plan of the run that lives here; where it is lost or cut, the copy of it.

        Raises:
            BadPlan: When there is none, or it is another than the run began with.
        """
        copy = self._plan_copy()
        if not self.plan.is_file():
            check_begun(self.target)
            return copy or read_plan(self.plan_copy)
        try:
            held = read_plan(self.plan)
        except BadPlan:
            if copy is None:
                raise
            return copy
        if copy is not None and held.fingerprint != copy.fingerprint:
            raise BadPlan(
                f"{self.plan} must be the plan that its run began with ({copy.fingerprint[:8]}), got another "
                f"({held.fingerprint[:8]}): it was cut or edited; remove it and go on with "
                f"`{command('il resume', self.target)}`, or carry the other out: "
                "`il restore --plan FILE --overwrite`"
            )
        return held

    @property
    def lacks_plan(self) -> bool:
        """Tell whether the plan is lost or cut, and its copy stands in for it."""
        try:
            return self._plan_copy() is not None and not (self.plan.is_file() and read_plan(self.plan))
        except BadPlan:
            return True

    def keep_plan(self, plan: RestorationPlan) -> None:
        """Write the plan of the run, and a copy."""
        write_text(self.plan, plan.to_yaml())
        write_text(self.plan_copy, plan.to_yaml())

    def _plan_copy(self) -> RestorationPlan | None:
        with suppress(BadPlan):
            return read_plan(self.plan_copy) if self.plan_copy.is_file() else None
        return None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the workspace; nobody else can until this ends, by whatever means.

        A folder in which nothing was begun is gone afterwards.

        Raises:
            Busy: When another run holds it.
            DestinationError: When the folder cannot be made.
            StoreError: When the store does not answer.
        """
        if isinstance(self.root, Path):
            with self._locked_here():
                yield
        else:
            with self._locked_in_store(), answered():
                yield

    @contextmanager
    def _locked_in_store(self) -> Iterator[None]:
        lock = StoreLock(cast(UPath, self.lock), str(self.target))
        try:
            lock.take()
        except FileNotFoundError as error:
            raise DestinationError(
                f"a bucket to write to was wanted for {self.target}; got {error}; make it, or choose another target"
            ) from error
        _HELD[str(self.lock)] = lock
        try:
            yield
        finally:
            _HELD.pop(str(self.lock), None)
            with suppress(Exception):
                is_empty = [place.name for place in entries(self.root)] == [self.lock.name]
            lock.release(is_last=is_empty)

    def check_lock(self, *, is_sure: bool = False) -> None:
        """Stop here if another run took the lock of this process over; on a disk nobody can.

        Args:
            is_sure: Ask the store in any case, before something that cannot be taken back.

        Raises:
            Busy: Another run works here now.
        """
        if (lock := _HELD.get(str(self.lock))) is not None:
            lock.check(is_sure=is_sure)

    def check_plan(self, plan: RestorationPlan) -> None:
        """Stop a worker here whose driver lost the lock to a run of another plan; on a disk nobody can.

        Raises:
            Busy: Another plan is carried out here now.
        """
        if isinstance(self.target, Path):
            return
        # Nothing in the making: a published result is being repaired.
        place = self.staging if self.generation.exists() else self.published
        if not place.name.startswith(plan.fingerprint[:8]):
            raise Busy(f"the run of this plan was wanted in {self.root}, got another run there; let that one go on")

    @contextmanager
    def _locked_here(self) -> Iterator[None]:
        handle = self._open_lock()
        while not _take(handle, self):
            handle = self._open_lock()
        try:
            yield
        finally:
            self._leave()
            os.close(handle)

    def _open_lock(self) -> int:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            return os.open(str(self.lock), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DestinationError(
                f"a folder to work in was wanted at {self.root}; got {error}; choose another target"
            ) from error

    def _leave(self) -> None:
        # While the lock is still held: whoever takes a lock file that was removed notices, and makes another.
        with suppress(OSError):
            if os.listdir(str(self.root)) == [self.lock.name]:
                self.lock.unlink()
                self.root.rmdir()

    def clear(self) -> None:
        """Remove everything for a new run but the lock and what MLflow is still to be told.

        The plan goes first, for without it the rest means nothing.
        """
        remove(self.plan_copy)
        remove(self.plan)
        for place in entries(self.root):
            if place.name not in (self.lock.name, self.untracked.name):
                remove(place)

    def begin(self, plan: RestorationPlan) -> None:
        """Choose where the result in the making lies; on a disk that is always the same place."""
        if not isinstance(self.target, Path):
            sweep(self.target)
            write_text(self.generation, new_generation(self.target, plan.fingerprint))

    def forget_staging(self) -> None:
        """Note that nothing is in the making any more: what was is published."""
        if not isinstance(self.target, Path):
            remove(self.generation)


def give_back_locks() -> None:
    """Give back what this process holds in stores, when it is about to stop without unwinding."""
    for lock in tuple(_HELD.values()):
        lock.release()


def _take(handle: int, workspace: Workspace) -> bool:
    """Lock the file; tell whether it is still the one that others will find."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(handle, 32, 0).decode().strip() or "unknown"
        os.close(handle)
        raise Busy(
            f"one run at a time may work on {workspace.target}, got another (process {holder}); wait for it, or stop it"
        ) from error
    if not _is_at(handle, Path(str(workspace.lock))):
        os.close(handle)
        return False
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


_PLACES = {
    "lock": "lock",
    "plan": PLAN,
    "overwrite": "overwrite",
    "weights": "weights",
    "ledger": "ledger.zarr",
    "scratch": "scratch.zarr",
    "generation": "generation",
    "maps": "qa.ome.zarr",
    "report": "report.html",
    "record": "record.json",
    "pictures": "pictures",
    "null_test": "null-test.json",
    "null_fields": "null-test.npz",
    "damage": "damage.json",
    "plan_copy": PLAN_COPY,
    "metadata": "metadata.json",
    "devices": "devices.json",
    "untracked": "untracked",
}
