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

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ilcore.grammar.commands import command
from ilcore.grammar.errors import BadPlan, Busy
from ilcore.planning.begun import PLAN, PLAN_COPY, check_begun, root_of
from ilcore.planning.plan import RestorationPlan, read_plan
from ilcore.results.destination import place_of_result
from ilcore.results.publisher import Publisher, publisher_of
from ilcore.stores.locks import Lock, lock_of
from ilcore.stores.places import answered, entries, remove, write_text
from ilcore.stores.store import Place

__all__ = ["Workspace", "give_back_locks", "write_text"]

#: The locks that this process holds and that outlive it, by their places.
_HELD: dict[str, Lock] = {}


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
        """Return where the result in the making lies: on a disk beside the target, in a store under it."""
        return self.publisher.staging

    @property
    def published(self) -> Place:
        """Return where the levels of the published result lie: in the target, in a store in a folder of it."""
        return self.publisher.published

    @property
    def publisher(self) -> Publisher:
        """Return how the result takes the place of the one before it."""
        return publisher_of(self.target, self.root)

    def show_published(self) -> None:
        """Lead readers to the published result again; on a disk they find it where it lies."""
        self.publisher.show_published()

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
        lock, name = lock_of(self.lock, str(self.target)), str(self.lock)
        lock.take()
        if lock.outlives_us:
            _HELD[name] = lock
        try:
            with answered():
                yield
        finally:
            _HELD.pop(name, None)
            lock.release(is_last=self._is_empty())

    def _is_empty(self) -> bool:
        with suppress(Exception):
            return [place.name for place in entries(self.root)] == [self.lock.name]
        return False

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
        if not self.publisher.is_of(plan.fingerprint):
            raise Busy(f"the run of this plan was wanted in {self.root}, got another run there; let that one go on")

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
        self.publisher.begin(plan.fingerprint)

    def forget_staging(self) -> None:
        """Note that nothing is in the making any more: what was is published."""
        self.publisher.forget_staging()


def give_back_locks() -> None:
    """Give back what this process holds in stores, when it is about to stop without unwinding."""
    for lock in tuple(_HELD.values()):
        lock.release()


_PLACES = {
    "lock": "lock",
    "plan": PLAN,
    "overwrite": "overwrite",
    "weights": "weights",
    "ledger": "ledger.zarr",
    "scratch": "scratch.zarr",
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
