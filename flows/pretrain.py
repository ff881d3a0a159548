"""Train a blind denoiser and register it: the flow behind `il pretrain`."""

from collections.abc import Sequence

from prefect import flow

from tasks.pretrain import Lesson, examine, register, school
from tasks.tracking.champions import Registered
from tasks.tracking.client import tracking_uri


@flow(name="pretrain", flow_run_name="pretrain-{steps}-steps")
def pretrain_denoiser(
    out: str,
    archives: Sequence[str] = (),
    steps: int = 7000,
    scenes: int = 600,
    seed: int = 0,
    width: int = 64,
    depth: int = 12,
    alias: str = "champion",
    tracking: str | None = None,
    device: str = "auto",
) -> tuple[Registered, dict[str, float]]:
    """Train on archives or generated scenes, measure, and register the weights under an alias.

    Args:
        out: The .safetensors file to write.
        archives: Volumes to learn from; none for the built-in generator.
        steps: Updates of the network.
        scenes: Crops or scenes in the corpus.
        seed: The same seed trains the same network.
        width: Channels of the network.
        depth: Convolutions of the network.
        alias: The name by which restorations find this version.
        tracking: MLflow's URI; a SQLite file beside `out` by default.
        device: auto, cpu, cuda or cuda:NUMBER.
    """
    lesson = Lesson(
        out=out, archives=tuple(archives), steps=steps, scenes=scenes, seed=seed, width=width, depth=depth,
        device=device,
    )  # fmt: skip
    weights = school(lesson)
    metrics = examine(weights)
    return register(weights, metrics, tracking_uri(out, tracking), alias), metrics
