"""How the command line runs a flow: check first, then Prefect, then say how it ended."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.answers import out

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True)
class Running:
    """Where and how a restoration runs; nothing here changes a voxel."""

    workers: int = 0
    scheduler: str | None = None
    device: str = "auto"
    overwrite: bool = False
    tracking_uri: str | None = None


def run_pretrain(**wishes: Any) -> None:
    """Train and register a denoiser, and say where it is."""
    from flows.pretrain import pretrain_denoiser

    registered, metrics = settled(pretrain_denoiser, wishes)
    for name, value in metrics.items():
        out.print(f"{name}: {value:.2f} dB", markup=False)
    out.print(f"weights     {wishes['out']}\nregistered  {registered.uri}", markup=False)


def settled(flow: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """Run a flow and return its result, or raise what it raised."""
    # Prefect would log a traceback even for errors that are one clear sentence; we print them ourselves.
    ended = flow(**parameters, return_state=True).result(raise_on_failure=False)
    if isinstance(ended, BaseException):
        raise ended
    return ended
