"""Measure every method on fixed images: the flow behind `il bench`."""

from collections.abc import Sequence

from prefect import flow

from ilcore.benchmark.score import Score
from tasks.benchmark import Event, measure_all, record, write_table
from tasks.tracking.client import tracking_uri


@flow(name="benchmark", flow_run_name="benchmark-{out}")
def benchmark(
    out: str = "docs/benchmarks.md",
    data: str | None = None,
    images: str | None = None,
    noise: float | None = None,
    sets: Sequence[str] = (),
    methods: Sequence[str] = (),
    programs: Sequence[str] = (),
    scope: str = "tile",
    is_quick: bool = False,
    steps: int | None = None,
    crop: int | None = None,
    limit: int | None = None,
    only: Sequence[str] = (),
    seed: int = 0,
    is_told: bool = True,
    scores: str | None = None,
    tracking: str | None = None,
) -> tuple[list[Score], str]:
    """Run every method on every image that has no score yet, write the table, and keep one MLflow run.

    Args:
        out: The Markdown page; what stands outside its markers stays.
        data: Root of the folders of named sets; none for generated scenes.
        images: A folder of the user's own.
        noise: Level that is added to the user's clean images, of 255.
        sets: Names of sets.
        methods: NAME[@SCOPE][:KNOB=VALUE,...]; none for all.
        programs: NAME=COMMAND of other people's denoisers.
        scope: tile, volume or both.
        is_quick: A few small images and steps.
        steps: Updates of methods that make some.
        crop: Side of a cut from the middle.
        limit: Images of each set at most.
        only: Names of images; none for all.
        seed: Of the methods.
        is_told: Whether methods are told the level of white noise.
        scores: The file of scores; beside the page if left out.
        tracking: MLflow's URI; a SQLite file beside the scores by default.
    """
    event = Event(
        out=out, data=data, images=images, noise=noise, sets=tuple(sets), methods=tuple(methods),
        programs=tuple(programs), scope=scope, is_quick=is_quick, steps=steps, crop=crop, limit=limit, only=tuple(only),
        seed=seed, is_told=is_told, scores=scores,
    )  # fmt: skip
    found = measure_all(event)
    text = write_table(event, found)
    page = record(event, found, text, tracking_uri(str(event.file().path), tracking))
    return found, page
