"""The Dask cluster: started here or joined, one torch thread a worker, and a bounded window of futures.

    items ──at most `window` in flight──> workers ──small reports──> driver, each future released at once

Prefect stays off the workers; only plans, numbers of work units and small reports travel.
"""

import logging
import os
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

import psutil
from dask import config as dask_config
from distributed import Client, Future, LocalCluster, Security, as_completed
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from ilcore.grammar.commands import command
from ilcore.grammar.errors import BadInput, ClusterError, ILError, OutsideError, WorkerDied
from ilcore.grammar.surroundings import is_outside
from ilcore.running.executor import Executor, Item, Report
from tasks.doors.keys import new_certificate
from tasks.executors.clusters import await_worker, read_cluster, started
from tasks.executors.shutdown import stop_requested, stopped

# It has a level of its own, and logs a lost scheduler with a traceback; we say it in a sentence.
logging.getLogger("distributed.client").setLevel(logging.CRITICAL)

Work: TypeAlias = "Future[Any]"

#: Futures in flight for each worker: one at work, one on its way, one spare.
IN_FLIGHT = 3
#: Seconds between two looks at how many workers there are.
LOOK_EVERY = 5.0
#: What a worker takes before it does anything.
_WORKER_BYTES = 600 * 2**20
#: How often a work unit is tried again when its store times out. Lost workers are Dask's own business.
RETRIES = 2


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a run may use.

    Args:
        workers: Local worker processes; 0 for one a core, or one a GPU.
        scheduler: Address of a running Dask scheduler, such as tcp://head:8786, to join instead; or a cluster file,
            such as slurm.yaml, that says how to start one.
        device: auto, cpu or cuda.
        tile_bytes: Memory that a tile takes: without a number of workers, no more are started than fit.
    """

    workers: int = 0
    scheduler: str | None = None
    device: str = "auto"
    tile_bytes: int = 0

    def __post_init__(self) -> None:
        wrong = []
        if self.workers < 0:
            wrong.append(f"workers must be >= 0, got {self.workers}; leave it out for one a core")
        if self.device not in ("auto", "cpu", "cuda"):
            wrong.append(f"device must be auto, cpu or cuda, got {self.device!r}")
        if self.scheduler is not None and "://" not in self.scheduler and not _is_file(self.scheduler):
            wrong.append(f"scheduler must be an address like tcp://host:8786 or a .yaml file, got {self.scheduler!r}")
        if wrong:
            raise BadInput("; ".join(wrong))


@dataclass(frozen=True)
class Cluster(Executor):
    """Workers of Dask, seen from the driver."""

    client: Client
    device: str
    gpus: bool

    @property
    def address(self) -> str:
        """Return the scheduler's address, for others to join."""
        return str(self.client.scheduler_info(n_workers=0)["address"])

    @property
    def workers(self) -> int:
        """Return how many workers are there now."""
        return len(self.client.scheduler_info(n_workers=-1)["workers"])

    def compute(self, function: Callable[[Item, str], Report], items: Iterable[Item]) -> Iterator[Report]:
        return self._spread(partial(_computed, function, self.device), items, {"GPU": 1} if self.gpus else None)

    def move(self, function: Callable[[Item], Report], items: Iterable[Item]) -> Iterator[Report]:
        # Workers without a GPU take part.
        return self._spread(function, items, None)

    def _spread(
        self, function: Callable[[Item], Report], items: Iterable[Item], resources: dict[str, int] | None
    ) -> Iterator[Report]:
        """Yield what `function` returns for each item, in the order of completion.

        Args:
            function: Runs on a worker; must be safe to run again, for a worker may die after its work.
            items: Read lazily; never more than a few for each worker are in flight.
            resources: What a worker must have. What restores runs on one kind of device in a run: what is drawn
                and rounded depends on it.

        Raises:
            ILError: What the function raised, or that a unit killed its workers.
            Stopped: When the run was asked to stop, or its time is over; what was in flight is done then.
        """
        waiting, flying = iter(items), set[Work]()
        landed = as_completed(loop=self.client.loop)
        try:
            window, look = self._window(), time.monotonic() + LOOK_EVERY
            self._launch(function, islice(waiting, window), flying, landed, resources)
            for future in landed:
                if time.monotonic() > look:
                    # A cluster that adapts has other workers by now.
                    window, look = self._window(), time.monotonic() + LOOK_EVERY
                report = _result(future)
                flying.discard(future)
                future.release()
                if not stop_requested():
                    more = islice(waiting, max(0, window - len(flying)))
                    self._launch(function, more, flying, landed, resources)
                yield report
            if stop_requested():
                raise stopped()
        finally:
            # Whoever stops early must not leave work behind on a shared scheduler.
            if flying:
                self.client.cancel(list(flying), force=True)

    def _window(self) -> int:
        return IN_FLIGHT * max(1, self.workers)

    def _launch(
        self,
        function: Callable[[Item], Report],
        items: Iterable[Item],
        flying: set[Work],
        landed: as_completed,
        resources: dict[str, int] | None,
    ) -> None:
        for item in items:
            # pure=False: the same unit asked twice is done twice, never answered from a forgotten result.
            future = self.client.submit(_guarded, function, item, pure=False, retries=RETRIES, resources=resources)
            flying.add(future)
            landed.add(future)


@contextmanager
def open_cluster(resources: Resources) -> Iterator[Cluster]:
    """Join or start a cluster, and leave or stop it afterwards."""
    # Where a platform runs, its workers are meant, unless workers of one's own are asked for.
    address = resources.scheduler or (None if resources.workers else os.environ.get("IL_SCHEDULER"))
    if address and _is_file(address):
        told = read_cluster(address)
        with started(told) as own, Client(own, set_as_default=False) as client:
            # Without any there is no telling whether they have GPUs.
            await_worker(client, told)
            yield _seen(client, resources)
        return
    if address:
        with _joined(address) as client:
            yield _seen(client, resources)
        return
    with _among_ourselves() as keys, _local(resources, keys) as local, Client(local, set_as_default=False) as client:
        yield _seen(client, resources)


def default_workers(device: str) -> int:
    """Return one worker a GPU where GPUs are meant, else one a core."""
    return (_gpus() if device != "cpu" else 0) or len(os.sched_getaffinity(0))


def has_gpu(device: str) -> bool:
    """Tell whether a device that is asked for means a GPU: cuda does, auto where one is there."""
    return device.startswith("cuda") or (device == "auto" and _gpus() > 0)


def worker_device(device: str) -> str:
    """Return the torch device of the worker this runs on; several local workers take turns on the GPUs."""
    import torch

    from ilcore.grammar.devices import device_of

    chosen = device_of(device)
    return f"cuda:{_place() % torch.cuda.device_count()}" if chosen.type == "cuda" else chosen.type


def _is_file(address: str) -> bool:
    return address.endswith((".yaml", ".yml"))


def _seen(client: Client, resources: Resources) -> Cluster:
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    promised = any("GPU" in worker.get("resources", {}) for worker in workers)
    return Cluster(client, resources.device, promised and resources.device != "cpu")


@contextmanager
def _among_ourselves() -> Iterator[Security]:
    """Yield a certificate of this run alone; whatever in this process joins its cluster knows it.

    Whoever reaches a scheduler can run code, and others have accounts on this machine. Pages are served to nobody.
    """
    # Dask's own are valid from the moment they are made: where the clock is set back, its workers would be shut out.
    shown, key = new_certificate()
    keys, told = {"tls_ca_file": shown}, {"distributed.comm.tls.ca-file": shown}
    for role in ("client", "scheduler", "worker"):
        keys |= {f"tls_{role}_cert": shown, f"tls_{role}_key": key}
        told |= {f"distributed.comm.tls.{role}.cert": shown, f"distributed.comm.tls.{role}.key": key}
    with dask_config.set({**told, "distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}):
        yield Security(require_encryption=True, **keys)


def _local(resources: Resources, keys: Security) -> LocalCluster:
    gpus = _gpus() if resources.device != "cpu" else 0
    # Spawned, never forked: zarr's event loop and CUDA contexts do not survive a fork.
    dask_config.set({"distributed.worker.multiprocessing-method": "spawn", "distributed.comm.timeouts.connect": "60s"})
    return LocalCluster(
        n_workers=resources.workers or _fitting(default_workers(resources.device), 0 if gpus else resources.tile_bytes),
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        security=keys,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        silence_logs=50,
        resources={"GPU": 1} if gpus else None,
    )


def _fitting(workers: int, tile_bytes: int) -> int:
    """Return how many workers have room for a tile each in the memory that is free now; one at least."""
    free = psutil.virtual_memory().available - workers * _WORKER_BYTES
    return max(1, min(workers, free // tile_bytes)) if tile_bytes else workers


@contextmanager
def _joined(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout="30s", set_as_default=False)
    except TypeError as error:
        # What Dask says of an address with tls:// where no certificates are set.
        told = "its platform's `environment` must be sourced, or distributed.comm.tls set in Dask's configuration"
        raise BadInput(f"scheduler {address} wants certificates, got none; {told}") from error
    except ValueError as error:
        raise BadInput(f"scheduler must be an address like tcp://host:8786, got {address}: {error}") from error
    except OSError as error:
        told = f"scheduler must be running, got no answer from {address}: {error}; start it first"
        raise ClusterError(told) from error
    with client:
        try:
            # In a cluster that adapts, the last one may just be followed by the next.
            client.wait_for_workers(1, timeout=30)
        except TimeoutError as error:
            told = (
                f"scheduler {address} must have workers, got none; start some with: {command('dask worker', address)}"
            )
            raise ClusterError(told) from error
        yield client


def _gpus() -> int:
    import torch

    # Counts through the driver's own library: a CUDA context here would be lost memory on the first GPU.
    return torch.cuda.device_count()


def _place() -> int:
    from distributed import get_worker

    try:
        name = get_worker().name
    except ValueError:
        return 0
    # Only our own local cluster numbers its workers; elsewhere each worker has been given its GPU already.
    return name if isinstance(name, int) else 0


@dataclass(frozen=True)
class _Refusal:
    """An error of ours, sent back as a value: trying again would only fail again.

    Args:
        error: On its way it loses what it was raised from.
        is_outside: Whether that was a fault of the surroundings.
    """

    error: ILError
    is_outside: bool


def _computed(function: Callable[[Any, str], Any], device: str, item: Any) -> Any:
    return function(item, worker_device(device))


def _guarded(function: Callable[[Any], Any], item: Any) -> Any:
    try:
        return function(item)
    except ILError as error:
        return _Refusal(error, is_outside(error))


def _result(future: Work) -> Any:
    try:
        result = future.result()
    except KilledWorker as error:
        raise WorkerDied(
            f"a work unit must leave its worker alive, got {error}; most likely memory ran out: "
            "use fewer --workers or a smaller --tile, then il resume"
        ) from error
    except (FutureCancelledError, CancelledError, CommClosedError) as error:
        raise ClusterError(
            "the Dask scheduler must stay reachable, got no answer any more; start it again if it is your own; what is "
            "done is kept: `il resume` goes on with it"
        ) from error
    if isinstance(result, _Refusal):
        raise result.error from (OutsideError("as its worker saw it") if result.is_outside else None)
    return result
