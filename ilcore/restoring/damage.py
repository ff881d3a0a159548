"""What of a run is not as it was written, and the note of it that a repair goes by."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from ilcore.restoring.workspace import Workspace
from ilcore.volumes.stores import remove, write_text

#: Where damage may be, besides levels, which go by their path.
ROOT, TILES = "root", "tiles"


@dataclass(frozen=True)
class Damage:
    """One piece of a run or of its result that is not what it must be.

    Args:
        place: Path of a level; `ROOT` for the metadata of the image, `TILES` for restored tiles on their way.
        number: Write unit of that level, or tile in the order of the grid; None for the metadata of the level.
        why: What is wrong with it.
        where: The voxels, for people.
    """

    place: str
    number: int | None
    why: str
    where: str = ""


def write_damage(workspace: Workspace, found: Sequence[Damage]) -> None:
    """Note damage for `il resume`; nothing found takes an earlier note back."""
    if found:
        write_text(workspace.damage, json.dumps([asdict(each) for each in found], indent=1))
    else:
        remove(workspace.damage)


def read_damage(workspace: Workspace) -> tuple[Damage, ...]:
    """Return the damage that was noted; none where there is no note."""
    if not workspace.damage.exists():
        return ()
    return tuple(Damage(**each) for each in json.loads(workspace.damage.read_text()))


def numbers_in(damages: Iterable[Damage], place: str) -> list[int]:
    """Return the damaged write units of one place, in order."""
    return sorted({each.number for each in damages if each.place == place and each.number is not None})
