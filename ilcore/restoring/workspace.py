"""The folder beside a target where a run lives until it is published, and its lock.

TARGET              appears complete, in one step, when the verdict allows it
TARGET.il/
  lock              held by the one run that works here; the system releases it however that run ends
  plan.yaml         what is done
  overwrite         there while an earlier result may be replaced
  weights/          pretrained weights, and the model learnt on the volume
  ledger.zarr       what is done so far, tile by tile
  scratch.zarr      restored tiles; removed when published
  staging.ome.zarr  the result in the making, without root metadata
  qa.ome.zarr       QA maps at tile resolution
  report.html, record.json, pictures/
  damage.json       what `il verify` found, for `il resume`
  overwrite         there while the run may replace an earlier result
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ilcore.grammar.errors import BadInput, BadPlan, Busy, DestinationError
from ilcore.restoring.plan import RestorationPlan, read_plan
from ilcore.volumes.open import is_remote


@dataclass(frozen=True)
class Workspace:
    """Paths beside one target."""

    target: Path

    @classmethod
    def of(cls, target: str | os.PathLike[str]) -> "Workspace":
        """Return the workspace of a target, made absolute.

        Raises:
            BadInput: When the target is no local folder.
        """
        if is_remote(target):
            raise BadInput(f"a target must be a local folder, got {os.fspath(target)}; publish here, then copy it")
        return cls(Path(os.path.abspath(os.fspath(target).removeprefix("file://"))))

    @property
    def root(self) -> Path:
        """Return the folder."""
        return self.target.with_name(self.target.name + ".il")

    def __getattr__(self, name: str) -> Path:
        if name not in _PLACES:
            raise AttributeError(f"a workspace has {', '.join(_PLACES)}; got {name!r}")
        return self.root / _PLACES[name]

    def plan_of_run(self) -> RestorationPlan:
        """Read the plan of the run that lives here.

        Raises:
            BadPlan: When there is none.
        """
        if not self.plan.is_file():
            raise BadPlan(f"a run must have been started for {self.target}, got no {self.plan.name} in {self.root}")
        return read_plan(self.plan)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the workspace; nobody else can until this ends, by whatever means.

        A folder in which nothing was begun is gone afterwards.

        Raises:
            Busy: When another run holds it.
            DestinationError: When the folder cannot be made.
        """
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
            return os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DestinationError(
                f"a folder to work in was wanted at {self.root}; got {error}; choose another target"
            ) from error

    def _leave(self) -> None:
        # While the lock is still held: whoever takes a lock file that was removed notices, and makes another.
        with suppress(OSError):
            if os.listdir(self.root) == [self.lock.name]:
                self.lock.unlink()
                self.root.rmdir()

    def clear(self) -> None:
        """Remove everything but the lock, for a new run; the plan first, for without it the rest means nothing."""
        self.plan.unlink(missing_ok=True)
        for path in self.root.iterdir():
            if path != self.lock:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


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
    if not _is_at(handle, workspace.lock):
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
    "plan": "plan.yaml",
    "overwrite": "overwrite",
    "weights": "weights",
    "ledger": "ledger.zarr",
    "scratch": "scratch.zarr",
    "staging": "staging.ome.zarr",
    "maps": "qa.ome.zarr",
    "report": "report.html",
    "record": "record.json",
    "pictures": "pictures",
    "damage": "damage.json",
}


def write_text(path: Path, text: str) -> None:
    """Write a file in one step."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
