"""Whatever is stored: a run accounts for every voxel, or refuses in one sentence before anything is written."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from ilcore.grammar.errors import BadVolume
from ilcore.running.ledger import STATUS, Ledger
from ilcore.running.local import carry_out
from ilcore.running.workspace import Workspace
from tests.standins import add_standins, assembled, planned, saved

TYPES = ["u1", ">u2", "i2", "<i4", ">u4", "i8", "u8", ">f4", "f4", "f8"]
#: Where the values lie, in shares of the range of a type, or as they are for floating types.
OFFSETS = [0.0, 0.4, -0.4, 0.9]
FLOAT_OFFSETS = [0.0, -3.0, 1e6, -1e12, 1e-30]


@pytest.fixture(autouse=True)
def standins(monkeypatch: pytest.MonkeyPatch) -> None:
    add_standins(monkeypatch)


def placed(values: NDArray[np.float64], dtype: np.dtype[Any], offset: float) -> NDArray[Any]:
    """Numbers from 0 to 1 as values of a type."""
    if dtype.kind == "f":
        return (values * max(1.0, abs(offset) * 1e-3) + offset).astype(dtype)
    info = np.iinfo(dtype)
    span = min(60_000, info.max - info.min) * 0.5
    low = np.clip(offset, info.min / info.max if info.min else 0.0, 1.0) * float(info.max) * 0.5
    return (np.clip(low, info.min, info.max - span) + values * span).astype(dtype)


@st.composite
def scans(draw: st.DrawFn) -> tuple[NDArray[Any], str, float | None]:
    """An array with its axes, and the value that means "no data"."""
    axes = draw(st.sampled_from(["yx", "zyx", "cyx", "tyx", "x", "xy", "tczyx", "yxc"]))
    most = {"t": 2, "c": 2, "z": 4, "y": 37, "x": 41}
    shape = tuple(
        draw(st.sampled_from([1, most[axis] - 3 if most[axis] > 9 else most[axis], most[axis]])) for axis in axes
    )
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = rng.random(shape)
    array = placed(values, dtype, draw(st.sampled_from(FLOAT_OFFSETS if dtype.kind == "f" else OFFSETS)))
    kind = draw(st.sampled_from(["full", "holes", "half", "saturated", "flat", "dark tile"]))
    hole = rng.random(shape) < (0.5 if kind == "half" else 0.1)
    if kind == "half":
        hole = np.broadcast_to(np.arange(shape[-1]) < shape[-1] // 2, shape)
    if kind in ("holes", "half"):
        mark = draw(st.sampled_from([np.nan, np.inf, -9999.0] if dtype.kind == "f" else [0.0]))
        array[hole] = mark
        return array, axes, float(mark) if np.isfinite(mark) else None
    if kind == "saturated":
        array[hole] = array.max()
    if kind == "flat":
        array[...] = array.flat[0]
    if kind == "dark tile":
        array[..., :16] = array.flat[0]
    return array, axes, None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scans(), st.sampled_from(["box", "unchanged"]))
def test_every_voxel_is_accounted_for(scan: tuple[NDArray[Any], str, float | None], method: str) -> None:
    array, axes, missing = scan
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = folder / "out.ome.zarr"
        try:
            plan = planned(saved(folder, array), target, method, axes=axes, missing=missing, tile=(2, 16, 16))
        except BadVolume:
            assert all(is_nothing(part, missing) for part in frames_of(array, axes))
            assert [path.name for path in folder.iterdir()] == ["source.npy"]
            return
        carry_out(plan)
        check(array, axes, missing, plan, exact=method == "unchanged")


def frames_of(array: NDArray[Any], axes: str) -> list[NDArray[Any]]:
    """Every channel of every time."""
    order = sorted(range(len(axes)), key=lambda at: axes[at] not in "tc")
    outer = sum(axis in "tc" for axis in axes)
    return list(array.transpose(order).reshape(-1, *array.transpose(order).shape[outer:]))


def is_nothing(array: NDArray[Any], missing: float | None) -> bool:
    """Nothing but one value and missing ones."""
    data = array[np.isfinite(array)] if array.dtype.kind == "f" else array.ravel()
    data = data if missing is None else data[data != missing]
    return data.size == 0 or bool(data.min() == data.max())


def check(array: NDArray[Any], axes: str, missing: float | None, plan: Any, *, exact: bool) -> None:
    found = assembled(plan)
    assert found.dtype == array.dtype.newbyteorder("=")
    seen = found.transpose(
        ["tczyx".index(axis) for axis in axes] + ["tczyx".index(a) for a in "tczyx" if a not in axes]
    )
    seen = seen.reshape(array.shape)
    gone = (~np.isfinite(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)) | (array == missing)
    np.testing.assert_array_equal(seen[gone], array[gone], err_msg="what is no data comes out as it went in")
    data, back = array[~gone].astype(np.float64), seen[~gone].astype(np.float64)
    assert np.isfinite(back).all()
    span = data.max() - data.min()
    # The last bits of 64-bit numbers at a huge offset do not survive blending in float64.
    slack = 1e-9 * span + 4 * np.spacing(np.abs(data).max())
    assert back.min() >= data.min() - slack, "nothing falls below what was there: no hole, no fill value"
    assert back.max() <= data.max() + slack
    if exact:
        assert np.abs(back - data).max() <= slack
    ledger = Ledger(Workspace.of(plan.target).ledger, plan.tile_grid)
    status = ledger.read("status")
    assert (status > 0).all()
    for tile in plan.tile_grid.tiles():
        assert (STATUS[status[tile.index]] == "empty") == is_empty(array, axes, missing, tile.keep)


def is_empty(array: NDArray[Any], axes: str, missing: float | None, region: Any) -> bool:
    """Whether all channels of a region hold nothing to learn from."""
    part = array[tuple(slice(*region["tczyx".index(axis)]) for axis in axes)]
    return all(is_nothing(each, missing) for each in frames_of(part, axes))


@pytest.mark.parametrize("mark", [0.0, -9999.0, np.nan])
@pytest.mark.parametrize(
    ("method", "more"), [("box", {}), ("nl_ridge", {}), ("zs_n2n", {"overrides": {"stop.steps": 40}})]
)
def test_the_border_of_missing_data_is_neither_eroded_nor_smeared(
    method: str, more: dict[str, Any], mark: float, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :64]
    clean = 100.0 + 0.5 * x + 10 * np.sin(y / 9)
    noisy = (clean + rng.normal(0, 4, clean.shape)).astype("f4")
    gone = (x - 32) ** 2 + (y - 30) ** 2 < 15**2
    noisy[gone] = mark
    missing = None if np.isnan(mark) else mark
    source = saved(tmp_path, noisy)
    plan = planned(source, tmp_path / "out.ome.zarr", method, missing=missing, tile=(1, 32, 32), noise_std=4.0, **more)
    carry_out(plan)
    restored = assembled(plan)[0, 0, 0]
    np.testing.assert_array_equal(restored[gone], noisy[gone])
    error = restored - clean
    away = distance_transform_edt(~gone)
    border, inside = (away > 0) & (away <= 2), away > 8
    assert abs(error[border].mean()) < 1.0, "a quarter of the noise: no pull towards what is missing"
    assert error[border].std() < max(1.6 * error[inside].std(), 0.8 * 4.0)
