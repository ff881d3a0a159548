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
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ilcore.grammar.errors import BadPlan, Busy, DestinationError
from ilcore.restoring.plan import RestorationPlan, read_plan


@dataclass(frozen=True)
class Workspace:
    """Paths beside one target."""

    target: Path

    @classmethod
    def of(cls, target: str | os.PathLike[str]) -> "Workspace":
        """Return the workspace of a target, made absolute."""
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

        Raises:
            Busy: When another run holds it.
            DestinationError: When the folder cannot be made.
        """
        handle = self._open_lock()
        try:
            _take(handle, self.target)
            yield
        finally:
            os.close(handle)

    def _open_lock(self) -> int:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            return os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DestinationError(
                f"a folder to work in was wanted at {self.root}; got {error}; choose another target"
            ) from error

    def clear(self, keep: Path | None = None) -> None:
        """Remove everything but the lock, for a new run; a kill while this goes on leaves nothing to be taken up."""
        gone = self.root / "ledger.gone"
        if self.ledger.exists():
            shutil.rmtree(gone, ignore_errors=True)
            self.ledger.rename(gone)
        for path in sorted(self.root.iterdir(), key=lambda path: path == self.plan):
            if path not in (self.lock, keep):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _take(handle: int, target: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(handle, 32, 0).decode().strip() or "unknown"
        raise Busy(
            f"one run at a time may work on {target}, got another (process {holder}); wait for it, or stop it"
        ) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)


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
}


def write_text(path: Path, text: str) -> None:
    """Write a file in one step."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
