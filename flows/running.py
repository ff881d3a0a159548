"""How the command line runs a flow: check first, then Prefect, then say how it ended."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flows.answers import PUBLISHED, REFUSED, out
from flows.pages import MARKS

if TYPE_CHECKING:
    from ilcore.planning.options import RestoreOptions
    from tasks.benchmark import BenchmarkConfig
    from tasks.labelled import LabelledEvent
    from tasks.outcome import Outcome


@dataclass(frozen=True, kw_only=True)
class Running:
    """Where and how a restoration runs; nothing here changes a voxel."""

    workers: int = 0
    scheduler: str | None = None
    device: str = "auto"
    overwrite: bool = False
    tracking_uri: str | None = None


def run_volume(source: str, target: str, options: "RestoreOptions", running: Running) -> int:
    """Restore a volume and return the exit code."""
    from tasks.load import check_early

    check_early(source, target, options)
    _say_starting()
    return _run({"source": source, "target": target, "options": options}, running)


def run_plan(plan: str, running: Running) -> int:
    """Carry out a plan file and return the exit code."""
    _say_starting()
    from pathlib import Path

    from ilcore.planning.plan import read_plan
    from tasks.load import check_free

    check_free(read_plan(Path(plan)).target)
    return _run({"plan": plan}, running)


def run_again(target: str, running: Running) -> int:
    """Go on with the run that was begun for a target and return the exit code."""
    _say_starting()
    from tasks.load import check_free, plan_of

    plan_of(target)
    check_free(target)
    return _run({"target": target}, running)


def _say_starting() -> None:
    # The libraries and the embedded server need a quarter of a minute: say what the wait is for, before either.
    out.print("starting Prefect and the workers ...", style="dim")


def _run(parameters: dict[str, Any], running: Running) -> int:
    from flows.restore import restore_volume

    outcome = settled(restore_volume, {**parameters, **asdict(running)})
    _tell(outcome)
    return PUBLISHED if outcome.is_published else REFUSED


def _tell(outcome: "Outcome") -> None:
    for finding in outcome.findings:
        if finding["verdict"] != "pass":
            told = f"{finding['check']}: {finding['measured']:.4g}, allowed {finding['allowed']} ({finding['why']})"
            out.print(f"{MARKS[finding['verdict']]}  {told}")
    for note in outcome.notes:
        out.print(note, style="dim", markup=False)
    place = outcome.target if outcome.is_published else "nothing was published: the QA gate refused the result"
    out.print(f"verdict     {MARKS[outcome.verdict]}")
    out.print(f"result      {place}\nreport      {outcome.report}", markup=False)
    if outcome.page:
        out.print(f"MLflow      {outcome.page}", markup=False)


def run_pretrain(**wishes: Any) -> None:
    """Train and register a denoiser, and say where it is."""
    from ilcore.grammar.devices import device_of

    # What was asked for wrongly is said before anything is started.
    device_of(wishes["device"])
    from flows.pretrain import pretrain_denoiser

    registered, metrics = settled(pretrain_denoiser, wishes)
    for name, value in metrics.items():
        out.print(f"{name}: {value:.2f} dB", markup=False)
    out.print(f"weights     {wishes['out']}\nregistered  {registered.uri}", markup=False)


def run_bench(event: "BenchmarkConfig", tracking: str | None) -> None:
    """Measure, show the table, and say where it is."""
    from dataclasses import fields

    from tasks.labelled import LabelledEvent, is_labelled

    if is_labelled(event):
        _run_labelled(LabelledEvent(event))
        return
    # What was asked for wrongly is said before anything is started.
    event.contenders(), event.pictures()
    out.print("starting Prefect ...", style="dim")
    from flows.benchmark import benchmark
    from flows.pages import show_scores

    wishes = {field.name: getattr(event, field.name) for field in fields(event)}
    scores, page = settled(benchmark, {**wishes, "tracking": tracking})
    show_scores(scores)
    out.print(f"\ntable       {event.out}\nscores      {event.file().path}\nMLflow      {page}", markup=False)


def run_speed(page: str | None, *, tiles: Any, methods: Any, **wishes: Any) -> None:
    """Measure what methods do on a device, each row told as it comes; what is not told is as in `SpeedWishes`."""
    from pathlib import Path

    from ilcore.benchmark.speed import PAGE, measure_speed, tiles_in
    from ilcore.benchmark.speed_rows import SpeedWishes

    wishes |= {"tiles": tiles and tiles_in(tiles), "methods": tuple(methods or ()) or None}
    told = SpeedWishes(**{name: value for name, value in wishes.items() if value is not None})
    file = Path(page or PAGE)
    measure_speed(told, file, tell=lambda words: out.print(words, markup=False))
    out.print(f"\ntable       {file}", markup=False)


def _run_labelled(event: "LabelledEvent") -> None:
    from ilcore.benchmark.labelled_runs import counts

    told = counts(event.measured())
    words = "\n".join(f"{name:26}{count}" for name, count in told.items())
    out.print(f"{words}\n\ntable       {event.page}\nruns        {event.file.path}", markup=False)


def settled(flow: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """Run a flow and return its result, or raise what it raised."""
    # Prefect would log a traceback even for errors that are one clear sentence; we print them ourselves.
    ended = flow(**parameters, return_state=True).result(raise_on_failure=False)
    if isinstance(ended, BaseException):
        raise ended
    return ended
