"""What writes volumes as single files for other programs: a module with a `Writer`, and one line in `export`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ilcore.volumes.volume import Volume


@dataclass(frozen=True)
class Writer:
    """A kind of file.

    Args:
        suffixes: How names of such files end.
        suits: Whether a volume is best written so, to a file of that name.
        check: Refuses what such a file cannot hold, with BadInput.
        write: Writes a volume to a file, and after it coarser levels of it, where such files hold them.
        takes_levels: Whether they do.
    """

    suffixes: tuple[str, ...]
    suits: Callable[[Volume, Path], bool]
    check: Callable[[Volume, Path], None]
    write: Callable[[Path, Sequence[Volume]], None]
    takes_levels: bool
