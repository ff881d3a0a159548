"""Clusters that a run starts for itself, by a YAML file: SLURM, PBS, SSH, Kubernetes, one process a GPU.

kind: slurm                 # slurm, pbs, ssh, kubernetes, cuda
maximum: 16                 # workers at most; as many as there is work for
minimum: 1                  # that stay
options: {queue: gpu, cores: 1, memory: 16GB, walltime: "02:00:00", job_extra_directives: ["--gres=gpu:1"]}

`options` go to the cluster's own class as they are; its documentation tells them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from dask import config as dask_config
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ilcore.grammar.errors import BadInput, ClusterError

#: Kind -> module and class, and what must be installed.
_CLASSES = {
    "slurm": ("dask_jobqueue", "SLURMCluster", "dask-jobqueue"),
    "pbs": ("dask_jobqueue", "PBSCluster", "dask-jobqueue"),
    "ssh": ("distributed", "SSHCluster", "asyncssh"),
    "kubernetes": ("dask_kubernetes.operator", "KubeCluster", "dask-kubernetes"),
    "cuda": ("dask_cuda", "LocalCUDACluster", "dask-cuda"),
}
#: Those have as many workers as they were made with.
_FIXED = frozenset({"ssh", "cuda"})


class ClusterFile(BaseModel):
    """What a cluster file says.

    Args:
        minimum, maximum: Workers that stay, and workers at most.
        patience_minutes: How long the first worker may stay away, in a queue for example.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["slurm", "pbs", "ssh", "kubernetes", "cuda"]
    options: dict[str, Any] = {}
    minimum: Annotated[int, Field(ge=1)] = 1
    maximum: Annotated[int, Field(ge=1)] = 4
    patience_minutes: Annotated[float, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _ordered(self) -> "ClusterFile":
        if self.minimum > self.maximum:
            raise ValueError(f"minimum must be <= maximum, got {self.minimum} and {self.maximum}")
        return self


def read_cluster(path: str) -> ClusterFile:
    """Read a cluster file.

    Raises:
        BadInput: Listing every complaint.
    """
    try:
        return ClusterFile.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"a cluster file must be readable YAML, got {path}: {error}") from error
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise BadInput(f"a cluster file must be sound, got {path}: {found}; see deploy/README.md") from error


@contextmanager
def started(told: ClusterFile) -> Iterator[Any]:
    """Start a cluster that grows with the work, and end it with the block."""
    make = _class_of(told.kind)
    try:
        # Over SSH a server is known to be there by what it logs, and takes over what is set here.
        with dask_config.set({"logging.distributed": "info"} if told.kind == "ssh" else {}):
            cluster = make(**told.options)
    except (TypeError, ValueError) as error:
        raise BadInput(f"a cluster of kind {told.kind} must start, got {type(error).__name__}: {error}") from error
    except Exception as error:  # each kind has libraries of its own, with errors of their own
        raise ClusterError(f"a cluster of kind {told.kind} must start, got {type(error).__name__}: {error}") from error
    with cluster:
        if told.kind not in _FIXED:
            cluster.adapt(minimum=told.minimum, maximum=told.maximum)
        yield cluster


def await_worker(client: Any, told: ClusterFile) -> None:
    """Wait until there is somebody to work.

    Raises:
        ClusterError: When nobody came.
    """
    try:
        client.wait_for_workers(1, timeout=60 * told.patience_minutes)
    except TimeoutError as error:
        raise ClusterError(
            f"a worker must come within {told.patience_minutes:g} minutes, got none from {told.kind}; look at its "
            "queue, or give it longer: patience_minutes"
        ) from error


def _class_of(kind: str) -> Callable[..., Any]:
    module, name, package = _CLASSES[kind]
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise BadInput(f"a cluster of kind {kind} needs {package}, got none; pip install {package}") from error
