"""Gather what the report of a run shows, a few planes and tiles at a time, and write the page."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ilcore.grammar.draws import lags_of
from ilcore.grammar.problem import Noise
from ilcore.grammar.region import Region, region_of
from ilcore.planning.plan import ChannelPlan
from ilcore.qa.chances import chance_of
from ilcore.qa.drawing import VoxelSize
from ilcore.qa.faint import search
from ilcore.qa.layer_pictures import LayerView, layer_picture
from ilcore.qa.maps import VERDICT, verdict_map, write_maps
from ilcore.qa.marks import Mark
from ilcore.qa.pictures import Plane, before_after_picture
from ilcore.qa.report import ReportInput, WorstTile, render_report
from ilcore.qa.standardised import variance_at
from ilcore.qa.verdict import QAReport
from ilcore.results.write import WriteTarget
from ilcore.running.bounding import bound_of_run, error_map
from ilcore.running.finer import OnResult
from ilcore.running.layers import provenance_shares
from ilcore.running.ledger import Ledger
from ilcore.running.null_test import null_fields
from ilcore.running.record import versions
from ilcore.running.run import Run
from ilcore.running.tile_record import REASONS, STATUS, USED
from ilcore.stores.places import make_folder, write_text
from ilcore.tiling.grid import Index
from ilcore.volumes.volume import Volume

#: Largest side of a plane that is read whole, and side of a crop: the driver's memory must not grow with the volume.
WINDOW, CROP = 1024, 96
CHANNELS, WORST = 3, 6
#: At most so many points and lines of a plane are marked.
MARKS = 300
MAPS = (
    "status",
    "used",
    "residual_level",
    "residual_structure",
    "residual_lag",
    "residual_tails",
    "faint_points",
    "faint_lines",
    "seam",
    "flux_change",
    "risk",
    "spread",
    "consistency",
    "invented_share",
    "steps",
)
#: Map of the root mean square error that a tile has at most, with 95 %.
ERROR = "error_bound"
WORDS = {"status": STATUS, "used": USED, "reason": REASONS}

Curves = Mapping[str, Sequence[tuple[int, float]]]


def write_report(run: Run, report: QAReport, curves: Curves, numbers: Mapping[str, float | None]) -> None:
    """Write report.html and a few pictures beside the target."""
    told = report_input(run, report, curves, numbers)
    write_text(run.workspace.report, render_report(told))
    make_folder(run.workspace.pictures)
    for view in told.layers:
        picture = layer_picture(view, told.voxel_size)
        (run.workspace.pictures / f"{view.layer.name}.png").write_bytes(picture)
    for name, planes in (("plane", told.planes[:2]), ("crop", told.crops[:2])):
        for number, plane in enumerate(planes):
            picture = before_after_picture(plane, told.voxel_size)
            (run.workspace.pictures / f"{name}_{number}_before_after_residual.png").write_bytes(picture)


def write_qa_maps(run: Run) -> None:
    """Write every map of the ledger, and the verdict on every tile, as an image that lies over the scan."""
    ledger, confidence = run.ledger, min(c.confidence for c in run.plan.channels)
    maps = {name: ledger.read(name) for name in MAPS}
    judged = {
        VERDICT: verdict_map(
            {name: maps[name] for name in MAPS if name not in WORDS}, confidence, run.plan.aim.limits()
        )
    }
    about = {"ilcore": {"fingerprint": run.plan.fingerprint, "words": {name: list(WORDS[name]) for name in WORDS}}}
    errors = {ERROR: error_map(run)}
    write_maps(run.workspace.maps, {**judged, **maps, **errors}, run.source, run.grid, about)


def report_input(run: Run, report: QAReport, curves: Curves, numbers: Mapping[str, float | None]) -> ReportInput:
    """Return everything that the page tells."""
    ledger = run.ledger
    pair = _Pair(run, run.result)
    planes = list(pair.planes())
    return ReportInput(
        title=run.workspace.target.name,
        verdict=report.verdict,
        findings=report.findings,
        why=run.plan.reasons,
        bound=bound_of_run(run).sentence,
        remarks=run.plan.source.remarks,
        notes=report.notes,
        plan_yaml=run.plan.to_yaml(),
        preflight_rows=[_preflight(number, channel) for number, channel in enumerate(run.plan.channels)],
        planes=planes,
        crops=[_crop(plane) for plane in planes[:3]],
        layers=list(pair.layers()),
        maps=_maps(ledger) | _errors(run),
        worst=list(_worst(pair, ledger)),
        nulls=[(each.name, each.seen, each.restored) for each in null_fields(run.workspace)],
        curves=[(name.removeprefix("loss_").replace("_", " "), points) for name, points in curves.items()],
        numbers={name.replace("_", " "): f"{value:.4g}" for name, value in numbers.items() if value is not None},
        versions=versions(),
        voxel_size=_voxel_size(pair.face),
        words=WORDS,
    )


@dataclass(frozen=True)
class _Pair:
    """The volume as it was and as it is."""

    run: Run
    result: WriteTarget

    @property
    def face(self) -> Volume:
        """What the result is."""
        return self.run.face

    def planes(self) -> Iterator[Plane]:
        """Go through three z planes of the first channels, in the middle of time."""
        depth = self.face.shape[2]
        chosen = sorted({depth // 4, depth // 2, (3 * depth) // 4})
        middle = self.face.shape[0] // 2
        for channel in range(min(CHANNELS, self.face.shape[1])):
            for z in chosen:
                spans = [_middle(length, WINDOW) for length in self.face.shape[3:]]
                region = region_of([(middle, middle + 1), (channel, channel + 1), (z, z + 1), *spans])
                yield self.plane(region, self._name(channel, z, spans))

    def layers(self) -> Iterator[LayerView]:
        """Go through the layers, the middle plane of the first channel of each."""
        middle, z = self.face.shape[0] // 2, self.face.shape[2] // 2
        spans = [_middle(length, WINDOW) for length in self.face.shape[3:]]
        region = region_of([(middle, middle + 1), (0, 1), (z, z + 1), *spans])
        for part in self.run.parts:
            if part.layer is not None:
                yield LayerView(
                    layer=part.layer,
                    name=self._name(0, z, spans),
                    plane=part.target(self.run.workspace.staging).read(region)[0, 0, 0],
                    image=_values(self.result.read(region)),
                    shares=provenance_shares(self.run) if part.layer.labels else {},
                )

    def plane(self, region: Region, name: str) -> Plane:
        """Return one plane of one channel as it was and as it is."""
        after = _values(self.result.read(region))
        if self.run.plan.is_finer:
            before = _values(OnResult.of(self.run).cubic(region))
            return Plane(name=f"{name}; before: the cubic through the scan", before=before, after=after)
        before = _values(self.run.source.known(region))
        channel = self.run.plan.channels[region[1][0]]
        lags, marks = lags_of(channel.noise), _marks(before, after, channel, math.prod(self.run.plan.source.shape))
        std = _noise_std(after, channel)
        return Plane(name=name, before=before, after=after, noise_std=std, lags=lags, marks=marks)

    def _name(self, channel: int, z: int, spans: Sequence[tuple[int, int]]) -> str:
        part = "" if [b - a for a, b in spans] == list(self.face.shape[3:]) else f", middle {WINDOW} pixels"
        names = self.face.channels
        where = f", z {z}" if self.face.shape[2] > 1 else ""
        return f"{names[channel] if names else f'channel {channel}'}{where}{part}"


def _marks(
    before: NDArray[np.float64], after: NDArray[np.float64], channel: ChannelPlan, places: int
) -> tuple[Mark, ...]:
    """Return the points and lines that were taken away from a plane."""
    known = np.isfinite(before) & np.isfinite(after)
    if channel.is_flat or not known.any():
        return ()
    unit = [(np.where(known, image, 0) - channel.low) / (channel.high - channel.low) for image in (before, after)]
    seen, restored = (image[None, None] for image in unit)
    found = search(seen, restored, known[None, None], [channel.noise], chance_of(known.size, places)).traces
    return tuple(
        Mark(trace.place[2], trace.place[3], trace.size if trace.kind == "line" else 0.0, trace.angle)
        for trace in found[:MARKS]
    )


def _values(block: NDArray[Any]) -> NDArray[np.float64]:
    return block[0, 0, 0].astype(np.float64)


def _noise_std(restored: NDArray[np.float64], channel: ChannelPlan) -> NDArray[np.float64] | None:
    """Return the noise at every pixel in units of the source; None where none was found."""
    law = Noise(gain=channel.gain, read_std=channel.read_std, offset=channel.offset)
    known = np.isfinite(restored)
    std = np.sqrt(variance_at(np.where(known, restored, channel.low), law, known))
    return std if std.any() else None


def _middle(length: int, most: int) -> tuple[int, int]:
    start = max(0, (length - most) // 2)
    return start, min(length, start + most)


def _crop(plane: Plane) -> Plane:
    """Cut out the place with most to see: where the restored plane varies most."""
    image = np.nan_to_num(plane.after)
    busy = ndimage.uniform_filter((image - ndimage.uniform_filter(image, CROP)) ** 2, CROP)
    half = CROP // 2
    inner = busy[half : max(half + 1, busy.shape[0] - half), half : max(half + 1, busy.shape[1] - half)]
    y, x = (int(n) for n in np.unravel_index(int(np.argmax(inner)), inner.shape)) if inner.size else (0, 0)
    cut = (slice(y, y + CROP), slice(x, x + CROP))
    return plane.part(f"{plane.name}, y {y}, x {x}", cut)


def _maps(ledger: Ledger) -> dict[str, NDArray[Any]]:
    """Return the maps of the first time point, those without a single value left out."""
    found = {name: ledger.read(name)[0] for name in MAPS}
    return {name: values for name, values in found.items() if np.isfinite(values.astype(np.float64)).any()}


def _errors(run: Run) -> dict[str, NDArray[Any]]:
    errors = error_map(run)[0]
    return {ERROR: errors} if np.isfinite(errors).any() else {}


def _worst(pair: _Pair, ledger: Ledger) -> Iterator[WorstTile]:
    """Go through the tiles that somebody should look at, those that failed first."""
    for row in ledger.rows(_worst_places(ledger.table())):
        t, _, z, y, x = pair.run.result_grid.tile(row["tile"]).core
        middle = (z[0] + z[1]) // 2
        region = region_of([(t[0], t[0] + 1), (0, 1), (middle, middle + 1), y, x])
        place = f"tile {' '.join(map(str, row['tile'][1:]))}"
        yield WorstTile(
            index=tuple(row["tile"]), reason=_reason(row), row=row, plane=pair.plane(region, f"{place}, z {middle}")
        )


def _worst_places(table: Mapping[str, NDArray[Any]]) -> list[Index]:
    status = table["status"]
    order = 2.0 * (status == STATUS.index("failed")) + (status == STATUS.index("fell back"))
    level = np.nan_to_num(table["residual_level"], nan=1.0)
    badness = np.log1p(np.nan_to_num(table["faint_points"]) + np.nan_to_num(table["faint_lines"]))
    badness += np.nan_to_num(table["residual_structure"]) + np.abs(np.log(np.maximum(level, 1e-6)))
    ranked = np.lexsort((-badness.ravel(), -order.ravel()))
    some = ranked[(status.ravel() != STATUS.index("empty"))[ranked]][:WORST]
    return [(int(t), int(z), int(y), int(x)) for t, z, y, x in zip(*np.unravel_index(some, status.shape), strict=True)]


def _reason(row: Mapping[str, Any]) -> str:
    if row["status"] == "failed":
        return "nothing passed: kept as it was"
    if row["status"] == "fell back":
        return f"fell back to {row['used']}"
    points, lines = int(row["faint_points"] or 0), int(row["faint_lines"] or 0)
    if points or lines:
        return f"{points} points and {lines} lines were taken away: structure or outliers"
    return "largest residual among those that passed"


def _preflight(number: int, channel: Any) -> dict[str, object]:
    return {
        "channel": number, "noise": channel.verdict, "confidence": channel.confidence, "level": channel.level,
        "gain": channel.gain, "read noise": channel.read_std, "offset": channel.offset, "lags y, x, diagonal":
        channel.lags, "lowest": channel.floor, "highest": channel.ceiling, "notes": "; ".join(channel.notes),
    }  # fmt: skip


def _voxel_size(source: Volume) -> VoxelSize | None:
    unit = source.units[4]
    return None if unit is None else (source.scale[3], source.scale[4], unit)
