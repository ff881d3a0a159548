"""What can be asked of a restoration: one object, from whoever asks to the plan.

The options of the command line, the form on Prefect's pages and the `restore` of an archive are made from its fields:
an option is added here and used in `make`, and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ilcore.aims.words import Prefer, Task
from ilcore.grammar.errors import BadInput
from ilcore.results.layout import ResultFormat

Depth = Literal["z", "t", "none"]
DeviceKind = Literal["cpu", "gpu"]
LayerWish = Literal["spread", "provenance", "none"]

DOING, VOLUME, RUNNING = "What to do", "The volume", "How to run"


@dataclass(frozen=True)
class Asked:
    """How an option is asked for on a command line, where its name and description do not say it all.

    Args:
        panel: Under which it is listed; None for what is set on the way and by nobody who asks.
        flags: What it is called there, where not by its name.
        form: What its value looks like.
    """

    panel: str | None
    flags: tuple[str, ...] = ()
    form: str | None = None


class RestoreOptions(BaseModel):
    """What the user asked for; everything else is chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Annotated[str | None, Asked(DOING, ("--method", "-m"))] = Field(
        default=None, description="see `il methods`; chosen from the noise if left out"
    )
    scope: Annotated[Literal["tile", "volume"] | None, Asked(DOING)] = Field(
        default=None, description="tile: learn on each tile; volume: one model per scan, then applied"
    )
    task: Annotated[Task, Asked(DOING)] = Field(
        default="denoise",
        description="denoise, inpaint (fill missing values), superres (finer, with --scale), copy (labels, masks: "
        "unchanged)",
    )
    scale: Annotated[float | str | tuple[float | str, ...] | None, Asked(DOING, form="N or Z,Y,X")] = Field(
        default=None,
        description="for superres: by how much finer along all axes of space, or each: 2, or 2,1,1",
    )
    psf: Annotated[str | None, Asked(DOING, form="NAME")] = Field(
        default=None,
        description="for superres: what a voxel gathers of the finer image: bicubic (usual), box, gaussian:1.6 (in "
        "voxels of the result)",
    )
    overrides: Annotated[dict[str, bool | int | float | str], Asked(DOING, ("--set", "-s"), "KNOB=VALUE")] = Field(
        default={}, description="turn a knob of the method, such as stop.steps=200; repeatable"
    )
    weights: Annotated[str | None, Asked(DOING)] = Field(
        default=None, description="a weight file, or models:/NAME@ALIAS of the registry"
    )
    noise_std: Annotated[float | None, Asked(DOING)] = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="noise standard deviation in the volume's own units, if known",
    )
    prefer: Annotated[Prefer, Asked(DOING)] = Field(
        default="balance", description="where the method is chosen: how its time is weighed against what it gains"
    )
    seed: Annotated[int, Asked(DOING)] = Field(default=0, ge=0, description="same plan, same seed: same voxels")
    tile: Annotated[tuple[int, int, int] | None, Asked(VOLUME, form="[Z,]Y,X")] = Field(
        default=None, description="core of a tile in voxels, such as 8,128,128; Z is 8 if left out"
    )
    cut_for: Annotated[DeviceKind, Asked(RUNNING)] = Field(
        default="cpu",
        description="kind of device that tiles are put together for: a GPU restores many small ones at once; as the "
        "machine is if left out",
    )
    layers: Annotated[tuple[LayerWish, ...], Asked(DOING, ("--layer",), "NAME")] = Field(
        default=(),
        description="written beside the image: spread (of what was averaged), provenance (measured or made up; usual "
        "where voxels are made up), none; repeatable",
    )
    axes: Annotated[str | None, Asked(VOLUME)] = Field(
        default=None, description="what the axes mean if the file does not say, such as zyx"
    )
    level: Annotated[int, Asked(VOLUME)] = Field(default=0, ge=0, description="level of a multiscale source")
    image: Annotated[str | None, Asked(VOLUME, form="NAME")] = Field(
        default=None, description="which image, where the source holds several: `il info SRC` lists them"
    )
    roi: Annotated[str | None, Asked(VOLUME, form="AXIS=FROM:TO,...")] = Field(
        default=None, description="a region of that level, in voxels, such as z=4:12,y=0:512,x=:512"
    )
    depth: Annotated[Depth | None, Asked(VOLUME)] = Field(
        default=None,
        description="axis that the method sees as depth: z of a stack, t of a movie, none: every plane alone; "
        "chosen if left out",
    )
    per_plane: Annotated[Literal["t", "z"] | None, Asked(VOLUME)] = Field(
        default=None,
        description="divide each frame (t) or plane (z) by its own brightness: for movies that bleach, stacks that "
        "darken",
    )
    missing: Annotated[int | float | None, Asked(VOLUME)] = Field(
        default=None, description="the value that means `no data` (NaN and inf always do)"
    )
    result_format: Annotated[ResultFormat, Asked(RUNNING, ("--format",))] = Field(
        default="ome-zarr 0.5", description="OME-Zarr of the result; 0.4 (Zarr v2) for readers that know no later one"
    )
    gate: Annotated[dict[str, tuple[float, float]], Asked(RUNNING, ("--gate",), "CHECK=LOW:HIGH")] = Field(
        default={}, description="refuse results outside this range, such as seams=0:3; repeatable"
    )
    hours: Annotated[float | None, Asked(None)] = Field(
        default=None, gt=0, description="of one core that there are: a method that takes longer is not chosen"
    )
    roots: Annotated[tuple[str, ...], Asked(None)] = Field(
        default=(),
        description="folders that links and names in the metadata of the source may lead to; none for its own",
    )
    tile_steps: Annotated[int | None, Asked(None)] = Field(
        default=None,
        ge=0,
        description="steps on every tile after a model of the volume; what the method needs if left out",
    )
    weights_uri: Annotated[str | None, Asked(None)] = Field(
        default=None, description="where the weights came from, for the record"
    )

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Self:
        """Return the options that a mapping names.

        Raises:
            BadInput: When it names others, or values that they cannot have.
        """
        try:
            return cls.model_validate(dict(asked))
        except ValidationError as error:
            raise BadInput("; ".join(dict.fromkeys(map(cls._sentence, error.errors())))) from None

    def but(self, **other: Any) -> Self:
        """Return the same options, some of them others."""
        return self.of({**{name: getattr(self, name) for name in self.model_fields_set}, **other})

    @field_validator("tile")
    @classmethod
    def _lengths(cls, tile: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        if tile is not None and min(tile) < 1:
            raise ValueError
        return tile

    @field_validator("missing")
    @classmethod
    def _number(cls, missing: float | None) -> float | None:
        if missing in (float("inf"), float("-inf")):
            raise ValueError
        return missing

    @classmethod
    def _sentence(cls, error: Any) -> str:
        """Say what was wanted, what came, and what to do."""
        name, got = str(error["loc"][0]), error["input"]
        if error["type"] == "extra_forbidden":
            return f"a restoration can be told {', '.join(cls.model_fields)}; got {name}"
        if error["type"] == "literal_error":
            return f"{name} must be {error['ctx']['expected'].replace(chr(39), '')}, got {got!r}"
        if name in _WANTED:
            return _WANTED[name].format(got=got)
        bound = error.get("ctx", {})
        wanted = f">= {bound['ge']:g}" if "ge" in bound else f"above {bound['gt']:g}" if "gt" in bound else error["msg"]
        return f"{name} must be {wanted}, got {got!r}"


_WANTED = {
    "noise_std": "noise_std must be above 0 and finite, got {got}; leave it out to have it estimated",
    "tile": "tile must be three lengths >= 1, z y x, got {got}; leave it out to have it chosen",
    "layers": "layers must be a list of spread, provenance or none, got {got!r}",
    "hours": "hours must be above 0, got {got}; leave it out for no limit",
    "missing": "missing must be a number, got {got}; infinities are never data",
}
