"""How far a run has come: a run that died and had come further was ended by something else than its scan."""

from ilcore.grammar.errors import ILError
from ilcore.restoring.ledger import Ledger
from ilcore.restoring.workspace import Workspace


def headway(target: str) -> int:
    """Return how many tiles are restored and blocks assembled of the run for a target; 0 where nothing can be told."""
    try:
        workspace = Workspace.of(target)
        if not workspace.ledger.exists():
            return 0
        ledger = Ledger(workspace.ledger, workspace.plan_of_run().tile_grid)
        return int((ledger.read("status") > 0).sum() + (ledger.read("assembled") > 0).sum())
    except (ILError, OSError, KeyError, ValueError):
        return 0
