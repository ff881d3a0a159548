"""The options that several commands share, said once."""

from typing import Annotated, Any, Literal

import typer

from ilcore.grammar.errors import BadInput

Source = Annotated[
    str, typer.Argument(help="OME-Zarr, Zarr, TIFF, GeoTIFF, .npy ...; a path or an URL", show_default=False)
]
Target = Annotated[str, typer.Argument(help="where the result is, or will be: an OME-Zarr folder", show_default=False)]

LEARN, DATA, RUN = "What to do", "The volume", "How to run"

Method = Annotated[str | None, typer.Option("--method", "-m", help="see `il methods`; chosen from the noise if left out", rich_help_panel=LEARN)]  # fmt: skip  # noqa: E501
Scope = Annotated[Literal["tile", "volume"] | None, typer.Option(help="tile: learn on each tile; volume: one model per scan, then applied", rich_help_panel=LEARN)]  # fmt: skip  # noqa: E501
Task = Annotated[
    Literal["denoise", "inpaint", "copy"],
    typer.Option(help="denoise, inpaint (fill missing values), copy (labels, masks: unchanged)", rich_help_panel=LEARN),
]
Knobs = Annotated[list[str] | None, typer.Option("--set", "-s", metavar="KNOB=VALUE", help="turn a knob of the method, such as stop.steps=200; repeatable", rich_help_panel=LEARN)]  # fmt: skip  # noqa: E501
Steps = Annotated[int | None, typer.Option(min=0, help="short for --set stop.steps=N", rich_help_panel=LEARN)]
Weights = Annotated[str | None, typer.Option(help="a weight file, or models:/NAME@ALIAS of the registry", rich_help_panel=LEARN)]  # fmt: skip  # noqa: E501
Prefer = Annotated[Literal["speed", "balance", "quality"], typer.Option(help="where the method is chosen: how its time is weighed against what it gains", rich_help_panel=LEARN)]  # fmt: skip  # noqa: E501
Seed = Annotated[int, typer.Option(help="same plan, same seed: same voxels", rich_help_panel=LEARN)]
NoiseStd = Annotated[float | None, typer.Option(min=0, help="noise standard deviation in the volume's own units, if known", rich_help_panel=LEARN)]  # fmt: skip  # noqa: E501

Tile = Annotated[str | None, typer.Option(metavar="[Z,]Y,X", help="core of a tile in voxels, such as 8,128,128; Z is 8 if left out", rich_help_panel=DATA)]  # fmt: skip  # noqa: E501
Axes = Annotated[str | None, typer.Option(help="what the axes mean if the file does not say, such as zyx", rich_help_panel=DATA)]  # fmt: skip  # noqa: E501
Image = Annotated[str | None, typer.Option(metavar="NAME", help="which image, where the source holds several: `il info SRC` lists them", rich_help_panel=DATA)]  # fmt: skip  # noqa: E501
Roi = Annotated[str | None, typer.Option(metavar="AXIS=FROM:TO,...", help="a region of that level, in voxels, such as z=4:12,y=0:512,x=:512", rich_help_panel=DATA)]  # fmt: skip  # noqa: E501
Level = Annotated[int, typer.Option(min=0, help="level of a multiscale source", rich_help_panel=DATA)]
Depth = Annotated[Literal["z", "t", "none"] | None, typer.Option(help="axis that the method sees as depth: z of a stack, t of a movie, none: every plane alone; chosen if left out", rich_help_panel=DATA)]  # fmt: skip  # noqa: E501
PerPlane = Annotated[Literal["t", "z"] | None, typer.Option(help="divide each frame (t) or plane (z) by its own brightness: for movies that bleach, stacks that darken", rich_help_panel=DATA)]  # fmt: skip  # noqa: E501
Missing = Annotated[float | None, typer.Option(help="the value that means `no data` (NaN and inf always do)", rich_help_panel=DATA)]  # fmt: skip  # noqa: E501

Workers = Annotated[int, typer.Option("--workers", "-w", min=0, help="local workers; 0: one a core, or one a GPU", rich_help_panel=RUN)]  # fmt: skip  # noqa: E501
Scheduler = Annotated[str | None, typer.Option(help="join a Dask scheduler instead, such as tcp://head:8786, or start a cluster by a file, such as slurm.yaml", rich_help_panel=RUN)]  # fmt: skip  # noqa: E501
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="what the workers compute on", rich_help_panel=RUN)
]
Gate = Annotated[list[str] | None, typer.Option("--gate", metavar="CHECK=LOW:HIGH", help="refuse results outside this range, such as seams=0:3; repeatable", rich_help_panel=RUN)]  # fmt: skip  # noqa: E501
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace an existing result; it stays until the new one has passed", rich_help_panel=RUN)]  # fmt: skip  # noqa: E501
Format = Annotated[Literal["0.5", "0.4"], typer.Option(help="OME-Zarr of the result; 0.4 (Zarr v2) for readers that know no later one", rich_help_panel=RUN)]  # fmt: skip  # noqa: E501
Tracking = Annotated[str | None, typer.Option("--tracking-uri", metavar="URI", help="MLflow; default: $MLFLOW_TRACKING_URI, else a SQLite file beside the result", rich_help_panel=RUN)]  # fmt: skip  # noqa: E501


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


def result_format(version: Literal["0.5", "0.4"]) -> Literal["ome-zarr 0.5", "ome-zarr 0.4"]:
    """Return the format of a result by the version of OME-Zarr."""
    return "ome-zarr 0.4" if version == "0.4" else "ome-zarr 0.5"
