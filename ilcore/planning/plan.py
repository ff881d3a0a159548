"""The plan of one restoration: everything that decides its pixels, frozen, printable, hashable."""

import hashlib
import json
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ilcore.aims.aim import Aim
from ilcore.aims.registry import aim_for
from ilcore.aims.words import Task
from ilcore.degradations.imaging import Imaging
from ilcore.degradations.kernels import kernel_of
from ilcore.degradations.stripes import Direction
from ilcore.grammar.errors import BadPlan, ILError
from ilcore.grammar.layers import Layer, LayerName, layers_of
from ilcore.grammar.problem import Noise, Operator
from ilcore.methods.catalogue import find
from ilcore.methods.entry import Entry, Scalar, configure
from ilcore.planning.begun import text_of_plan
from ilcore.planning.depth import length_of
from ilcore.planning.layers import layer_complaints
from ilcore.planning.options import Depth
from ilcore.qa.verdict import gate_complaints
from ilcore.results.layout import ResultFormat
from ilcore.stores.store import Place
from ilcore.tiling.grid import Along, TileGrid
from ilcore.volumes.marks import Mark

Three = tuple[int, int, int]
Five = tuple[int, int, int, int, int]
#: What is done; copy passes everything through unchanged.
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


_BREAKS = frozenset("\x85\u2028\u2029")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class SourcePlan(_Frozen):
    """The volume that is read, with the digest of its content.

    `roots` are the folders it may lead to, none for its own; `remarks` is what of it no result says.
    """

    uri: str
    digest: str
    axes: str
    level: NotNegative = 0
    shape: Five
    dtype: str
    missing: Mark | None = None
    image: str | None = None
    roi: str | None = None
    has_mask: bool = False
    roots: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class ChannelPlan(_Frozen):
    """Normalisation and noise of one channel, in the units of the source, frozen for the whole volume.

    `low` and `high` become 0 and 1; `floor` and `ceiling` bound what was seen. `verdict`, `confidence` and `notes`
    are what preflight found.
    """

    low: Finite
    high: Finite
    floor: Finite
    ceiling: Finite
    gain: Annotated[Finite, Field(ge=0)]
    read_std: Annotated[Finite, Field(ge=0)]
    offset: Finite = 0.0
    verdict: str = "unknown"
    confidence: float = 0.0
    lags: tuple[float, float, float] = (0.0, 0.0, 0.0)
    level: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def is_flat(self) -> bool:
        """Tell whether nothing but one value was seen, or no data at all: there is nothing to restore or to judge."""
        return self.ceiling <= self.floor

    @property
    def noise(self) -> Noise:
        """Return the noise in normalised units."""
        model = Noise(gain=self.gain, read_std=self.read_std, offset=self.offset, correlation=self.verdict,
                      lags=self.lags[:2])  # fmt: skip
        return model.scaled(self.low, self.high)

    @property
    def zero(self) -> float:
        """Return the level of no light in normalised units: where counts begin, or what is stored as 0."""
        dark = min(self.offset if self.gain > 0 else 0.0, self.floor)
        return (dark - self.low) / (self.high - self.low)


class PlanesPlan(_Frozen):
    """Brightness of every plane along one axis, relative to the median plane, by channel."""

    axis: Literal["t", "z"]
    brightness: tuple[tuple[Annotated[Finite, Field(gt=0)], ...], ...]


class GridPlan(_Frozen):
    """How the volume is cut, (z, y, x), and how its frames are."""

    core: tuple[Positive, Positive, Positive]
    overlap: tuple[NotNegative, NotNegative, NotNegative]
    halo: tuple[NotNegative, NotNegative, NotNegative]
    align: tuple[Positive, Positive, Positive] = (1, 1, 1)
    unit: tuple[Positive, Positive, Positive] = (1, 1, 1)
    time: Along = Along()


class WeightsPlan(_Frozen):
    """Pretrained weights: where they were asked for, and the only content that will do."""

    uri: str
    path: str
    sha256: str


class SamplesPlan(_Frozen):
    """Tiles from which a model of the whole volume is learnt, (depth, y, x)."""

    count: Positive = 16
    extent: tuple[Positive, Positive, Positive] = (1, 96, 96)
    batch: Positive = 4


class ExpectedPlan(_Frozen):
    """What one way to restore the volume promised on samples: gain over the input, hours of one core."""

    name: str
    gain_db: Finite
    core_hours: Annotated[Finite, Field(ge=0)]


#: What stood before it there.
_LEFT_OUT = "for want of time "


class RestorationPlan(_Frozen):
    """What will be done to one volume. Nothing runs that is not in it."""

    source: SourcePlan
    target: str
    result_format: ResultFormat = "ome-zarr 0.5"
    task: Task = "denoise"
    #: By how much the result is finer, z y x, and what a voxel of the source gathers of it.
    factors: tuple[Positive, Positive, Positive] = (1, 1, 1)
    psf: str = ""
    method: str
    method_version: Positive = 1
    scope: Literal["tile", "volume"]
    overrides: dict[str, Scalar] = {}
    tile_steps: NotNegative = 0
    why: str = ""
    #: What a night left out for want of time; empty where nothing is.
    left_out: str = ""
    seed: NotNegative = 0
    depth: Depth = "z"
    grid: GridPlan
    channels: tuple[ChannelPlan, ...]
    planes: PlanesPlan | None = None
    #: What shares offsets that are subtracted, region by region, before a method sees anything.
    stripes: Direction | None = None
    #: What is written beside the image.
    layers: tuple[LayerName, ...] = ()
    weights: WeightsPlan | None = None
    samples: SamplesPlan = SamplesPlan()
    gate: dict[str, tuple[float, float]] = {}
    expected: tuple[ExpectedPlan, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _of_version_0_1(cls, content: Any) -> Any:
        """Plans of version 0.1 said only in their reasons what they leave out."""
        if not isinstance(content, dict) or "left_out" in content or not isinstance(content.get("why"), str):
            return content
        return {**content, "left_out": content["why"].partition(_LEFT_OUT)[2]}

    @model_validator(mode="after")
    def _agrees(self) -> "RestorationPlan":
        complaints = list(_complaints(self))
        if complaints:
            raise ValueError("; ".join(complaints))
        return self

    @property
    def fingerprint(self) -> str:
        """Name everything that decides the pixels: not where source and result lie, why it was chosen, who may pass."""
        exclude: Any = {"source": {"uri", "image", "roots", "remarks"}, "weights": {"path", "uri"}}
        content = self.model_dump(
            mode="json", exclude=exclude | dict.fromkeys(("target", "why", "left_out", "gate", "expected"), True)
        )
        # Version 0.1 did not know it: plans that do without keep the name they had.
        if not self.source.has_mask:
            del content["source"]["has_mask"]
        if self.method_version == 1:
            del content["method_version"]
        if self.stripes is None:
            del content["stripes"]
        if not self.is_finer:
            del content["factors"], content["psf"]
        if not self.layers:
            del content["layers"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def reasons(self) -> str:
        """Why it is as it is, and what it leaves out."""
        is_told = not self.left_out or _LEFT_OUT in self.why
        return self.why if is_told else f"{self.why}; {_LEFT_OUT}{self.left_out}"

    @property
    def entry(self) -> Entry:
        """Return the configured method."""
        return configure(find(self.method), self.overrides)

    @property
    def layers_beside(self) -> tuple[Layer, ...]:
        """Return the layers beside the image."""
        return layers_of(self.layers)

    @property
    def space(self) -> int:
        """Return 3 where a method sees more than one plane at a time, else 2."""
        return 3 if length_of(self.depth, self.source.shape) > 1 else 2

    @property
    def confidence(self) -> float:
        """Return how far the noise estimate of the least certain channel can be relied on."""
        return min((channel.confidence for channel in self.channels if not channel.is_flat), default=0.0)

    @property
    def tile_grid(self) -> TileGrid:
        """Return the grid of tiles."""
        grid = self.grid
        return TileGrid(self.source.shape, grid.core, grid.overlap, grid.halo, grid.align, grid.unit, grid.time)

    @property
    def is_finer(self) -> bool:
        """Tell whether the result lies on another grid than its source."""
        return self.factors != (1, 1, 1)

    @property
    def aim(self) -> Aim:
        """Return what is asked; what is copied is held to what a denoised scan is held to."""
        if not self.is_finer:
            return aim_for("denoise" if self.task == "copy" else self.task)
        return aim_for(self.task, scale=self.factors, space=3)

    @property
    def operator(self) -> Operator | None:
        """Return what lies between the result and the source; None where nothing does."""
        if not self.is_finer:
            return None
        factors = self.factors[-self.space :]
        return Imaging(kernel_of(self.psf, factors), factors)

    @property
    def value_range(self) -> tuple[float, float]:
        """Return the range of normalised values, with headroom."""
        ends = [((c.floor - c.low) / (c.high - c.low), (c.ceiling - c.low) / (c.high - c.low)) for c in self.channels]
        if self.planes is not None:
            ends = [
                (low / b, high / b) for (low, high), own in zip(ends, self.planes.brightness, strict=True) for b in own
            ]
        lows, highs = zip(*ends, strict=True)
        room = 0.05 * max(max(highs) - min(lows), 1e-6)
        return min(lows) - room, max(highs) + room

    def to_yaml(self) -> str:
        """Return the plan as a YAML file's text."""
        content = self.model_dump(mode="json")
        # Letters stay readable, but for the line breaks of Unicode, which would not come back as they were.
        readable = not _BREAKS & set(json.dumps(content, ensure_ascii=False))
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=readable, width=110)

    @classmethod
    def from_yaml(cls, text: str) -> "RestorationPlan":
        """Read a plan.

        Raises:
            BadPlan: Listing every complaint.
        """
        try:
            content: Any = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BadPlan(f"a plan must be YAML, got a syntax error: {error}; `il plan` writes a good one") from error
        return cls.of(content)

    @classmethod
    def of(cls, content: Any) -> "RestorationPlan":
        """Make a plan of its fields.

        Raises:
            BadPlan: Listing every complaint.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            found = "; ".join(_words(complaint) for complaint in error.errors())
            raise BadPlan(
                f"a plan must be complete and sound, got this: {found}; `il plan` writes a good one"
            ) from error


def read_plan(path: Place) -> RestorationPlan:
    """Read a plan file.

    Raises:
        BadPlan: When it is missing or wrong.
    """
    return RestorationPlan.from_yaml(text_of_plan(path))


def _words(complaint: Any) -> str:
    if complaint["type"] == "extra_forbidden":
        name = ".".join(map(str, complaint["loc"]))
        return f"{name}: not known here; if a later version of ilcore made the plan, carry it out with that one"
    place = ".".join(map(str, complaint["loc"]))
    return f"{place}: {complaint['msg']}" if place else str(complaint["msg"]).removeprefix("Value error, ")


def _complaints(plan: RestorationPlan) -> list[str]:
    found = []
    if len(plan.channels) != plan.source.shape[1]:
        found.append(f"channels must have {plan.source.shape[1]} entries, got {len(plan.channels)}")
    if any(channel.high <= channel.low for channel in plan.channels):
        found.append("every channel must have high > low")
    room = (length_of(plan.depth, plan.source.shape), *plan.source.shape[3:])
    if any(most < side for most, side in zip(room, plan.samples.extent, strict=True)):
        found.append(f"samples.extent must fit into {room} (depth, y, x), got {plan.samples.extent}")
    found += _depth_complaints(plan)
    found += gate_complaints(plan.gate)
    if not _is_number_type(plan.source.dtype):
        found.append(f"source.dtype must be a type of real numbers, got {plan.source.dtype!r}")
    try:
        found += _method_complaints(plan.entry, plan)
        steps = plan.tile_steps if plan.scope == "volume" else plan.entry.method.budget
        found += layer_complaints(plan.layers, plan.task, plan.entry, steps)
    except ILError as error:
        found.append(str(error))
    try:
        plan.tile_grid  # noqa: B018 (a grid that cannot exist complains when made)
    except ILError as error:
        found.append(str(error))
    return found


def _depth_complaints(plan: RestorationPlan) -> list[str]:
    found, grid, shape = [], plan.grid, plan.source.shape
    if plan.depth != "z" and (grid.core[0], grid.overlap[0], grid.halo[0]) != (1, 0, 0):
        found.append(f"grid must hold single planes along z where depth is {plan.depth}, got {grid}")
    if plan.depth != "t" and grid.time != Along():
        found.append(f"grid.time must be single frames where depth is {plan.depth}, got {grid.time}")
    if plan.planes is not None:
        wanted = [shape[0] if plan.planes.axis == "t" else shape[2]] * shape[1]
        lengths = [len(channel) for channel in plan.planes.brightness]
        if lengths != wanted:
            found.append(f"planes.brightness must hold {wanted} numbers, by channel, got {lengths}")
    return found


def _is_number_type(name: str) -> bool:
    try:
        return np.dtype(name).kind in "iuf"
    except TypeError:
        return False


def _method_complaints(entry: Entry, plan: RestorationPlan) -> list[str]:
    found = []
    can = plan.task in entry.tasks if plan.task == "copy" else plan.aim.serves(entry)
    if not can:
        found.append(
            f"{plan.method} can {' and '.join(sorted(entry.tasks))}, got task {plan.task}; choose another method"
        )
    if plan.scope not in entry.scopes:
        found.append(f"{plan.method} has scopes {sorted(entry.scopes)}, got {plan.scope}")
    if "weights" in entry.needs and plan.weights is None:
        found.append(f"{plan.method} needs weights, got none; pass --weights or leave the shipped ones")
    if "weights" not in entry.needs and plan.weights is not None:
        found.append(f"{plan.method} starts without weights, got {plan.weights.uri}; leave them out")
    if plan.scope == "volume" and not entry.can_apply and plan.tile_steps < 1:
        found.append(f"{plan.method} must make steps on every tile, got tile_steps 0; set it to {entry.tile_steps}")
    return found
