"""The record of a run: its findings, and what it was made with: versions, machine, commit, devices."""

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ilcore.grammar.commands import command
from ilcore.grammar.errors import CorruptData
from ilcore.qa.verdict import Finding, QAReport
from ilcore.running.bounding import bound_of_run
from ilcore.running.layers import provenance_shares
from ilcore.running.run import Run
from ilcore.running.workspace import Workspace
from ilcore.stores.places import read_text, write_text

_PACKAGES = ("ilcore", "torch", "numpy", "scipy", "scikit-image", "zarr", "numcodecs", "tifffile", "safetensors")


def write_record(run: Run, report: QAReport, more: Mapping[str, Any]) -> None:
    """Write the run's record: fingerprint, findings, bound, versions and whatever the caller measured."""
    record = {
        "fingerprint": run.plan.fingerprint,
        "verdict": report.verdict,
        "findings": [asdict(finding) for finding in report.findings],
        "notes": report.notes,
        "bound": bound_of_run(run).told(),
        **_layers_told(run),
        "published": False,
        "devices": devices_of(run.workspace),
        "versions": versions(),
        **more,
    }
    write_text(run.workspace.record, json.dumps(record, indent=2, default=str))


def _layers_told(run: Run) -> dict[str, Any]:
    """Return which layers there are, and which share of the voxels comes from where."""
    shares = provenance_shares(run)
    layers = {"layers": {layer.name: layer.folder for layer in run.plan.layers_beside}} if run.plan.layers else {}
    return {**layers, **({"provenance": shares} if shares else {})}


def read_record(workspace: Workspace) -> dict[str, Any]:
    """Return the record of a finished run.

    Raises:
        CorruptData: When it is missing or damaged.
    """
    try:
        record: dict[str, Any] = json.loads(read_text(workspace.record))
        record["published"], record["verdict"], record["versions"]
        _report_in(record)
    except FileNotFoundError:
        why = "it is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        why = "it is cut or garbled"
    else:
        return record
    raise CorruptData(
        f"the record of a run was wanted at {workspace.record}, {why}; "
        f"`{command('il resume', workspace.target)}` writes it again from the ledger"
    )


def has_record(workspace: Workspace) -> bool:
    """Tell whether the record of a run is there and sound."""
    try:
        return bool(read_record(workspace))
    except CorruptData:
        return False


def read_findings(workspace: Workspace) -> QAReport:
    """Read the findings of a finished run from its record.

    Raises:
        CorruptData: When it is missing or damaged.
    """
    return _report_in(read_record(workspace))


def _report_in(record: Mapping[str, Any]) -> QAReport:
    # Records of version 0.1 have no notes; what a later version says of a finding besides is left out.
    known = Finding.__dataclass_fields__
    findings = ({name: value for name, value in each.items() if name in known} for each in record["findings"])
    return QAReport(tuple(Finding(**finding) for finding in findings), tuple(record.get("notes", ())))


def note_device(workspace: Workspace, device: str, open_units: int) -> None:
    """Note on what kind of device a run is carried out from now on; each kind rounds in its own way."""
    told = devices_of(workspace)
    if not told or told[-1]["device"] != device:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_text(workspace.devices, json.dumps([*told, {"device": device, "from": now, "open_units": open_units}]))


def devices_of(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the kinds of device that a run was carried out on, with the units that were open when it went there."""
    try:
        told = json.loads(read_text(workspace.devices))
        return [{"device": str(each["device"]), **each} for each in told]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def devices_told(workspace: Workspace) -> str:
    """Return a sentence where a run went on on another kind of device than it began on; else nothing."""
    told = devices_of(workspace)
    if len(told) < 2:
        return ""
    rest = ", ".join(f"the last {each['open_units']} units of work on {each['device']}" for each in told[1:])
    first = told[0]["device"]
    return (
        f"begun on {first}, continued on another kind of device: {rest}; their voxels may differ from those of "
        f"{first}: a CPU and a GPU draw other random numbers for the same seed, and every kind rounds in its own way"
    )


def versions() -> dict[str, str]:
    """Return the versions of everything that decides pixels."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    commit = git_commit()
    return found | ({"commit": commit} if commit else {})


def git_commit() -> str | None:
    """Return the commit of the source tree this runs from, marked where files were changed; None outside one."""
    folder = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
