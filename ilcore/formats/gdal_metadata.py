"""What GDAL writes into its own tag of a TIFF, read without GDAL: scale, offset, names of bands, other words."""

import json
from dataclasses import dataclass, replace
from xml.etree import ElementTree

from ilcore.volumes.marks import Mark, number_of
from ilcore.volumes.scan_metadata import NOTHING, About

#: GDAL's own tag.
TAG = 42112


@dataclass(frozen=True)
class GdalWords:
    """What the tag says."""

    about: About = NOTHING
    names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def gdal_words(text: str, bands: int) -> GdalWords:
    """Read the tag; what is no XML says nothing."""
    try:
        items = [each for each in ElementTree.fromstring(text.strip("\0 \n")).iter("Item") if each.get("name")]
    except ElementTree.ParseError:
        return GdalWords(remarks=("GDAL_METADATA is no XML: not carried over",) if text.strip("\0 \n") else ())
    by_role = {role: _by_band(items, role) for role in ("scale", "offset", "description", "unittype")}
    others = {str(each.get("name")): each.text or "" for each in items if not each.get("role")}
    scales, offsets = _numbers(by_role["scale"], bands, 1.0), _numbers(by_role["offset"], bands, 0.0)
    names = tuple(by_role["description"].get(band, f"channel {band}") for band in range(bands))
    units = set(by_role["unittype"].values())
    if len(units) == 1:
        others.setdefault("units", units.pop())
    about = NOTHING
    remarks: tuple[str, ...] = ()
    if None in scales or None in offsets or len(set(scales)) > 1 or len(set(offsets)) > 1:
        others |= {"scales": json.dumps(scales), "offsets": json.dumps(offsets)}
        remarks = ("scales and offsets differ from band to band, or are no numbers: kept as attributes, not applied",)
    else:
        about = replace(about, value_scale=float(scales[0] or 1.0), value_offset=float(offsets[0] or 0.0))
    attributes = json.dumps(others, sort_keys=True) if others else None
    return GdalWords(replace(about, attributes=attributes), names if by_role["description"] else (), remarks)


def _by_band(items: list[ElementTree.Element], role: str) -> dict[int, str]:
    held = [each for each in items if each.get("role") == role]
    return {
        int(str(each.get("sample", "0"))): each.text or "" for each in held if str(each.get("sample", "0")).isdigit()
    }


def _numbers(said: dict[int, str], bands: int, absent: float) -> list[Mark | None]:
    return [number_of(said[band]) if band in said else absent for band in range(bands)]
