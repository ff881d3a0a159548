"""Weights out of a registry, and which of them it named last: for the time when it does not answer."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ilcore.adapting.weights import sha256_of
from ilcore.stores.places import write_text


@dataclass(frozen=True)
class Registered:
    """A version of a registered model.

    Args:
        uri: models:/name/version, which always means these weights.
        path: A local file with them.
    """

    uri: str
    path: Path
    sha256: str


def last_champion(uri: str) -> Registered | None:
    """Return what the registry at an address called champion when it was last asked; None where that is not known."""
    try:
        told = json.loads(_file(uri).read_text(encoding="utf-8"))
        found = Registered(str(told["uri"]), Path(told["path"]), str(told["sha256"]))
        return found if sha256_of(found.path) == found.sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember_champion(uri: str, found: Registered | None) -> None:
    """Keep what a server's registry calls champion; a database that is a file is there or has no runs either."""
    if uri.startswith("http"):
        told = {} if found is None else {"uri": found.uri, "path": str(found.path), "sha256": found.sha256}
        # Nothing is lost but a hint.
        with suppress(OSError):
            _file(uri).parent.mkdir(parents=True, exist_ok=True)
            write_text(_file(uri), json.dumps(told))


def cache_folder() -> Path:
    """Return where this user keeps what can be fetched again."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ilcore"


def _file(uri: str) -> Path:
    return cache_folder() / "champions" / f"{hashlib.sha256(uri.encode()).hexdigest()[:16]}.json"
