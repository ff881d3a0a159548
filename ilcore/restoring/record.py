"""What a run was made with: versions, machine, commit."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("ilcore", "torch", "numpy", "scipy", "scikit-image", "zarr", "numcodecs", "tifffile", "safetensors")


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
