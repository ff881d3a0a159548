"""Every method on fixed images: measure, write the table, keep the record."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.benchmark.contenders import Contender, line_up
from ilcore.benchmark.images import BenchmarkImage
from ilcore.benchmark.measuring import asked, measure_each, open_work
from ilcore.benchmark.page import write_between
from ilcore.benchmark.runs import Settings
from ilcore.benchmark.score import Score, ScoreFile, key_of
from ilcore.benchmark.sets import gather
from ilcore.benchmark.table import cells, markdown
from ilcore.grammar.commands import command
from tasks.progress import Progress
from tasks.tracking.client import RunPayload, Tracker, VolumeRun

#: What `--quick` measures unless told otherwise: enough to see that everything runs, too little to mean anything.
QUICK_SETS, QUICK_CROP, QUICK_STEPS, QUICK_LIMIT = ("scenes", "scenes_correlated"), 32, 2, 1


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """What is measured, on what, and where it is written.

    Args:
        data: Root of the folders of named sets.
        images: A folder of the user's own.
        noise: Level that is added to the user's clean images, of 255.
        sets: Names of sets; none for all there are.
        methods: As in `Contender.of`; none for all.
        programs: As in `Contender.program`.
        scope: tile, volume or both, where no methods are named.
        is_quick: Few small generated images, a few steps, one process.
        steps: Updates of methods that make some.
        crop: Side of a cut from the middle.
        limit: Images of each set at most.
        only: Names of images; none for all.
        seed: Of the methods.
        is_told: Whether methods are told the level of white noise.
        out: The Markdown page.
        scores: The file of scores; beside the page if left out.
    """

    data: str | None = None
    images: str | None = None
    noise: float | None = None
    sets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    scope: str = "tile"
    is_quick: bool = False
    steps: int | None = None
    crop: int | None = None
    limit: int | None = None
    only: tuple[str, ...] = ()
    seed: int = 0
    is_told: bool = True
    out: str = "docs/benchmarks.md"
    scores: str | None = None

    def settings(self) -> Settings:
        """Return what is the same for all."""
        steps = QUICK_STEPS if self.is_quick and self.steps is None else self.steps
        crop = QUICK_CROP if self.is_quick and self.crop is None else self.crop
        return Settings(seed=self.seed, steps=steps, crop=crop, is_told=self.is_told)

    def contenders(self) -> list[Contender]:
        """Return the rows.

        Raises:
            BadInput: For unknown methods, scopes or knobs.
        """
        return line_up(self.methods, self.programs, self.scope)

    def pictures(self) -> list[BenchmarkImage]:
        """Return the images, not yet read.

        Raises:
            BadInput: For unknown sets and folders that are not there.
        """
        has_folder = self.data is not None or self.images is not None
        sets = QUICK_SETS if self.is_quick and not self.sets and not has_folder else self.sets
        limit = QUICK_LIMIT if self.is_quick and self.limit is None else self.limit
        data, images = (None if place is None else Path(place) for place in (self.data, self.images))
        return gather(sets, data=data, images=images, noise=self.noise, limit=limit, only=self.only)

    def file(self) -> ScoreFile:
        """Return the file of scores."""
        return ScoreFile(Path(self.scores) if self.scores else Path(self.out).with_suffix(".jsonl"))

    def command(self) -> str:
        """Return the command that measures this again; folders are named DATA and IMAGES, they differ everywhere."""
        words = ["il bench", *(["--quick"] if self.is_quick else [])]
        words += [f"--{name} {name.upper()}" for name in ("data", "images") if getattr(self, name)]
        words += [
            f"--{name} {value}"
            for name in ("noise", "steps", "crop", "limit", "seed")
            if (value := getattr(self, name)) not in (None, 0)
        ]
        words += [f"--scope {self.scope}"] if self.scope != "tile" and not self.methods else []
        for option, names in (("--set", self.sets), ("--image", self.only), ("--method", self.methods)):
            words += [command(option, name) for name in names]
        words += [f'--external {name.partition("=")[0]}="..."' for name in self.programs]
        return " ".join(words + ([] if self.is_told else ["--estimate-noise"]))


@task(name="measure", cache_policy=NO_CACHE)
def measure_all(event: BenchmarkConfig) -> list[Score]:
    """Measure what is not in the file of scores yet, and return all that was asked for."""
    contenders, pictures, settings, file = event.contenders(), event.pictures(), event.settings(), event.file()
    left = sum(len(waiting) for _, waiting in open_work(contenders, pictures, settings, file))
    total = len(contenders) * len(pictures)
    with Progress.of("bench", total, "images", already=total - left) as progress:
        for score in measure_each(contenders, pictures, settings, file, is_apart=not event.is_quick):
            told = "refused" if score.psnr is None else f"{score.psnr:.2f} dB"
            progress.step(f"{score.method} {score.set}/{score.image}: {told}")
    return asked(contenders, pictures, settings, file)


@task(name="write table", cache_policy=NO_CACHE)
def write_table(event: BenchmarkConfig, scores: Sequence[Score]) -> str:
    """Put the table between the markers of the page, and return it."""
    text = markdown(scores, event.settings(), event.command())
    write_between(Path(event.out), text)
    return text


@task(name="record", cache_policy=NO_CACHE)
def record(event: BenchmarkConfig, scores: Sequence[Score], text: str, tracking_uri: str) -> str:
    """Keep one MLflow run for the whole benchmark, and return how to look at it."""
    told = asdict(event)
    digest = key_of(told)
    tracker = Tracker(tracking_uri)
    run = VolumeRun(
        name=f"benchmark-{digest[:8]}", source=event.data or event.images or "generated scenes", target=event.out,
        fingerprint=digest, digest=digest,
    )  # fmt: skip
    run_id = tracker.begin(run, RunPayload(params=told, tags={"il.kind": "benchmark"}))
    scores_file = event.file().path
    files = {scores_file: "benchmark"} if scores_file.exists() else {}
    tracker.note(run_id, RunPayload(metrics=metrics(scores), texts={"benchmark/table.md": text}, files=files))
    tracker.end(run_id, "FINISHED")
    return tracker.page(run_id)


def metrics(scores: Sequence[Score]) -> dict[str, float]:
    """Return psnr and ssim of every method and set, under names that MLflow takes."""
    found: dict[str, float] = {}
    for (method, name), cell in cells(scores).items():
        place = f"{re.sub(r'[^0-9A-Za-z_.-]', '_', method)}/{re.sub(r'[^0-9A-Za-z_.-]', '_', name)}"
        found |= {f"{place}/psnr": cell.psnr, f"{place}/ssim": cell.ssim}
    return found
