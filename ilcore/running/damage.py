"""What of a run is not as it was written, and the note of it that a repair goes by."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from ilcore.grammar.commands import command
from ilcore.grammar.errors import CorruptData
from ilcore.running.workspace import Workspace
from ilcore.stores.places import remove, write_text

#: Where damage may be, besides levels, which go by their path: in the result, and in what is kept of the run.
ROOT, TILES = "root", "tiles"
PLAN, RECORD, SCRATCH = "plan", "record", "scratch"
#: In the ledger itself, in its records of tiles, curves and seams by unit of work, in those of write units by chunk.
LEDGER, UNITS, BLOCKS, CURVES, SEAMS = "ledger", "ledger units", "ledger blocks", "ledger curves", "ledger seams"


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
    """Return the damage that was noted; none where there is no note.

    Raises:
        CorruptData: When the note cannot be read.
    """
    if not workspace.damage.exists():
        return ()
    try:
        return tuple(Damage(**each) for each in json.loads(workspace.damage.read_text()))
    except (ValueError, TypeError) as error:
        raise CorruptData(
            f"a note of damage was wanted at {workspace.damage}, it is cut or garbled; "
            f"`{command('il verify', workspace.target)}` writes it again"
        ) from error


def numbers_in(damages: Iterable[Damage], place: str) -> list[int]:
    """Return the damaged write units of one place, in order."""
    return sorted({each.number for each in damages if each.place == place and each.number is not None})
