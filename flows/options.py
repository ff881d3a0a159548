"""The options that several commands share, said once; what a restoration can be told comes from its own object."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_type_hints

import typer

from flows.answers import answering
from ilcore.grammar.errors import BadInput
from ilcore.planning.options import DOING, RUNNING, Asked, RestoreOptions

Source = Annotated[
    str, typer.Argument(help="OME-Zarr, Zarr, TIFF, GeoTIFF, .npy ...; a path or an URL", show_default=False)
]
Target = Annotated[str, typer.Argument(help="where the result is, or will be: an OME-Zarr folder", show_default=False)]

Workers = Annotated[int, typer.Option("--workers", "-w", min=0, help="local workers; 0: one a core, or one a GPU", rich_help_panel=RUNNING)]  # fmt: skip  # noqa: E501
Scheduler = Annotated[str | None, typer.Option(help="join a Dask scheduler instead, such as tcp://head:8786, or start a cluster by a file, such as slurm.yaml", rich_help_panel=RUNNING)]  # fmt: skip  # noqa: E501
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="what the workers compute on", rich_help_panel=RUNNING)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace an existing result; it stays until the new one has passed", rich_help_panel=RUNNING)]  # fmt: skip  # noqa: E501
Tracking = Annotated[str | None, typer.Option("--tracking-uri", metavar="URI", help="MLflow; default: $MLFLOW_TRACKING_URI, else a SQLite file beside the result", rich_help_panel=RUNNING)]  # fmt: skip  # noqa: E501


def with_options(kind: type[RestoreOptions] = RestoreOptions) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command that takes `options` an option for each thing that a restoration can be told."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(command, eval_str=True).parameters
        told = _parameters(kind)
        named = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own.values()]
        parameters = [each for one in named for each in (told.values() if one.name == "options" else [one])]

        def with_its_options(**given: Any) -> Any:
            with answering():
                options = kind.of(_read({name: given.pop(name) for name in told}))
            return command(**given, options=options)

        with_its_options.__name__, with_its_options.__doc__ = command.__name__, command.__doc__
        with_its_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_its_options.__annotations__ = {each.name: each.annotation for each in parameters}
        return with_its_options

    return decorate


def _parameters(kind: type[RestoreOptions]) -> dict[str, inspect.Parameter]:
    """Return what a command takes for each option, by its name there."""
    steps = typer.Option(min=0, help="short for --set stop.steps=N", rich_help_panel=DOING)
    found: dict[str, inspect.Parameter] = {}
    for name, field in kind.model_fields.items():
        asked = _asked(kind, name)
        if asked.panel is None:
            continue
        default = _PLAIN[name][1] if name in _PLAIN else field.default
        annotation = _PLAIN[name][0] if name in _PLAIN else get_type_hints(kind)[name]
        found[name] = _parameter(name, Annotated[annotation, option_of(name, kind)], default)
        if name == "overrides":
            found["steps"] = _parameter("steps", Annotated[int | None, steps], None)
    return found


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _asked(kind: type[RestoreOptions], name: str) -> Asked:
    return next(each for each in kind.model_fields[name].metadata if isinstance(each, Asked))


def option_of(name: str, kind: type[RestoreOptions] = RestoreOptions) -> Any:
    """Return how an option of a restoration is asked for on a command line."""
    field, asked = kind.model_fields[name], _asked(kind, name)
    least = next((each.ge for each in field.metadata if hasattr(each, "ge")), None)
    return typer.Option(
        *asked.flags, metavar=asked.form, min=least, help=field.description, rich_help_panel=asked.panel
    )


def _read(given: dict[str, Any]) -> dict[str, Any]:
    """Return what was written on a command line as the values that it stands for."""
    given["overrides"] = knobs(given["overrides"], given.pop("steps"))
    given["gate"] = gate(given["gate"])
    given["tile"] = tile_core(given["tile"])
    given["scale"] = scale(given["scale"])
    given["layers"] = tuple(given["layers"] or ())
    given["result_format"] = f"ome-zarr {given['result_format']}"
    return given


#: What is written otherwise on a command line than it is held: its type there, and its default.
_PLAIN: dict[str, tuple[Any, Any]] = {
    "overrides": (list[str] | None, None),
    "gate": (list[str] | None, None),
    "tile": (str | None, None),
    "missing": (float | None, None),
    "layers": (list[str] | None, None),
    "scale": (str | None, None),
    "result_format": (Literal["0.5", "0.4"], "0.5"),
}

Axes = Annotated[str | None, option_of("axes")]
Level = Annotated[int, option_of("level")]
Image = Annotated[str | None, option_of("image")]
Missing = Annotated[float | None, option_of("missing")]
Seed = Annotated[int, option_of("seed")]
Roi = Annotated[str | None, option_of("roi")]


def gate(settings: list[str] | None) -> dict[str, tuple[float, float]]:
    """Return CHECK=LOW:HIGH words as a mapping; an end that is left out is open.

    Raises:
        BadInput: When a word is not of that form.
    """
    found = {}
    for word in settings or []:
        name, _, ends = word.partition("=")
        low, colon, high = ends.partition(":")
        try:
            found[name.strip()] = (float(low or "-inf"), float(high or "inf"))
        except ValueError:
            colon = ""
        if not colon:
            raise BadInput(f"--gate wants CHECK=LOW:HIGH, such as seams=0:3, got {word!r}")
    return found


def knobs(settings: list[str] | None, steps: int | None) -> dict[str, bool | int | float | str]:
    """Return KNOB=VALUE words as a mapping, values read as YAML does.

    Raises:
        BadInput: When a word holds no "=".
    """
    import yaml

    found: dict[str, Any] = {} if steps is None else {"stop.steps": steps}
    for word in settings or []:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise BadInput(f"--set wants KNOB=VALUE, got {word!r}; for example --set stop.steps=200")
        found[name.strip()] = yaml.safe_load(value)
    return found


def tile_core(text: str | None) -> tuple[int, int, int] | None:
    """Return "[Z,]Y,X" as (z, y, x); eight planes where Z is left out.

    Raises:
        BadInput: When it is not two or three whole numbers.
    """
    if text is None:
        return None
    try:
        core = [int(part) for part in text.split(",")]
    except ValueError:
        core = []
    if len(core) not in (2, 3) or min(core) < 1:
        raise BadInput(f"--tile wants 2 or 3 whole numbers from 1 on, like 128,128 or 16,128,128; got {text!r}")
    return (8 if len(core) == 2 else core[0], core[-2], core[-1])


def scale(text: str | None) -> str | tuple[str, ...] | None:
    """Return "2" or "2,1,1" as one factor or several."""
    return tuple(part.strip() for part in text.split(",")) if text and "," in text else text
