"""A region of a level as a volume of its own."""

import json
from pathlib import Path

import numpy as np
import pytest

from ilcore.formats.in_memory import from_array
from ilcore.formats.open import open_volume
from ilcore.formats.roi import open_roi, plain_roi, read_roi, roi_of
from ilcore.grammar.errors import BadInput
from ilcore.grammar.region import region_of, whole
from ilcore.results.ome_zarr import create_array, write_root
from ilcore.results.pyramid import write_pyramid
from ilcore.running.carry_out import carry_out
from ilcore.volumes.scan_metadata import ScanMetadata
from tests.standins import add_standins, assembled, planned

VALUES = np.arange(2 * 3 * 20 * 600, dtype="u2").reshape(2, 3, 20, 600)


def stored(folder: Path) -> str:
    """A pyramid of two levels with channels, a place and colours."""
    told = from_array(VALUES, "czyx", scale=(1, 2.0, 0.5, 0.5), units=(None, "micrometer", "micrometer", "micrometer"))
    display = json.dumps({"channels": [{"label": "a", "color": "00FF00"}, {"label": "b", "color": "FF0000"}]})
    volume = roi_of(told, whole(told.shape), told.scale)
    volume.__dict__.update(display=display, origin=(0.0, 0.0, 10.0, 5.0, 5.0), channels=("a", "b"))
    path = str(folder / "scan.ome.zarr")
    target = create_array(f"{path}/0", shape=volume.shape, dtype="u2", axes="czyx")
    target.write(whole(volume.shape), VALUES[None])
    levels = write_pyramid(path, volume)
    write_root(path, volume=volume, levels=levels, name="scan")
    assert [level.path for level in levels] == ["0", "1", "2"]
    return path


def test_a_region_has_its_own_place_channels_and_colours(tmp_path: Path) -> None:
    part = open_roi(stored(tmp_path), roi="c=1:2,z=1:3 y=4:,x=:300")
    assert part.shape == (1, 1, 2, 16, 300)
    np.testing.assert_array_equal(part.read(whole(part.shape))[0], VALUES[1:2, 1:3, 4:, :300])
    np.testing.assert_array_equal(
        part.read(region_of([(0, 1), (0, 1), (1, 2), (3, 5), (7, 9)]))[0, 0, 0], VALUES[1, 2, 7:9, 7:9]
    )
    assert part.channels == ("b",)
    assert part.origin[2:] == (12.0, 7.0, 5.0)
    assert [channel["color"] for channel in json.loads(part.display or "")["channels"]] == ["FF0000"]


def test_a_level_lies_where_it_lies(tmp_path: Path) -> None:
    part = open_roi(stored(tmp_path), level=1, roi="x=10:20")
    assert part.scale[4] == 1.0
    # The middle of a voxel that is the mean of two lies half a fine voxel further in.
    assert part.origin[4] == pytest.approx(5.0 + 10 * 1.0 + 0.25)


def test_georeference_follows_level_and_corner() -> None:
    volume = from_array(np.zeros((50, 60), "u1"), "yx", scale=(20.0, 20.0))
    volume.__dict__["about"] = ScanMetadata(affine=(10.0, 0.0, 500.0, 0.0, -10.0, 900.0))
    part = roi_of(volume, region_of([(0, 1), (0, 1), (0, 1), (5, 9), (3, 4)]), (1.0, 1.0, 1.0, 10.0, 10.0))
    assert part.about.affine == (20.0, 0.0, 500.0 + 3 * 20, 0.0, -20.0, 900.0 - 5 * 20)


@pytest.mark.parametrize("roi", ["y=0:512,q=1:2", "y=30:40", "x=5:5", "x=7:3", "x=-1:4", "1:2", "x=0:601"])
def test_a_region_that_is_none(roi: str) -> None:
    with pytest.raises(BadInput, match="was wanted"):
        read_roi(roi, from_array(VALUES, "czyx"))


@pytest.mark.parametrize(
    ("roi", "plain"), [("", None), ("y=: x=0:", None), ("x=5:17,c=:1", "c=0:1,x=5:17"), ("z=1:", "z=1:")]
)
def test_one_spelling_of_a_region(roi: str, plain: str | None) -> None:
    volume = from_array(VALUES, "czyx")
    assert plain_roi(roi) == plain
    assert read_roi(plain or "", volume) == read_roi(roi, volume)


@pytest.mark.medium
def test_a_region_of_a_level_is_restored_as_an_ordinary_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_standins(monkeypatch)
    source = stored(tmp_path)
    plan = planned(source, tmp_path / "part.ome.zarr", "unchanged", tile=(1, 8, 32), level=1, roi="c=0:1,x=17:217")
    carry_out(plan)
    expected = open_volume(source, level=1)
    found = open_volume(plan.target)
    np.testing.assert_array_equal(
        assembled(plan), expected.read(region_of([(0, 1), (0, 1), (0, 3), (0, 20), (17, 217)]))
    )
    assert found.scale == expected.scale
    assert found.origin[4] == pytest.approx(expected.origin[4] + 17 * expected.scale[4])
    assert found.channels == ("a",)
    assert plan.source.roi == "c=0:1,x=17:217"


def test_the_same_region_in_other_words_is_the_same_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_standins(monkeypatch)
    source, target = stored(tmp_path), tmp_path / "part.ome.zarr"
    one, other = (planned(source, target, "unchanged", roi=roi) for roi in ("x=0:64 y=:", "x=:64"))
    assert one.fingerprint == other.fingerprint
