"""What ImageJ writes into the description of a TIFF of the meaning of its numbers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ilcore.volumes.marks import number_of

#: ImageJ's numbers of calibration functions: a straight line, and none at all.
STRAIGHT_LINE, NONE = 0, 20


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a stored value means; attributes hold what could not be used."""

    scale: float = 1.0
    offset: float = 0.0
    attributes: tuple[tuple[str, Any], ...] = ()
    remarks: tuple[str, ...] = ()


def calibration(said: Mapping[str, Any]) -> Calibration:
    """Read the calibration function: value = c0 + c1 * stored. Signed 16 bits are one, with c0 = -32768."""
    unit = _unit(said)
    numbers = {key: number_of(said[key]) for key in said if _is_coefficient(key)}
    function = number_of(said.get("cf", NONE if not numbers else STRAIGHT_LINE))
    if function == NONE and not numbers:
        return Calibration(attributes=unit)
    c0, c1 = numbers.get("c0", 0), numbers.get("c1", 1)
    if function == STRAIGHT_LINE and set(numbers) <= {"c0", "c1"} and c0 is not None and c1:
        return Calibration(scale=float(c1), offset=float(c0), attributes=unit)
    kept = {key: said[key] for key in said if key == "cf" or _is_coefficient(key)}
    told = f"ImageJ's calibration {json.dumps(kept, default=str)} is no straight line: kept as attributes, not applied"
    return Calibration(attributes=(*unit, ("imagej", kept)), remarks=(told,))


def _unit(said: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    unit = str(said.get("vunit", "")).strip()
    return (("units", unit),) if unit and unit.lower() != "gray value" else ()


def _is_coefficient(key: str) -> bool:
    return len(key) == 2 and key[0] == "c" and key[1].isdigit()
