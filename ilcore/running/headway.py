"""How far a run has come: a run that died and had come further was ended by something else than its scan."""

from ilcore.grammar.errors import ILError
from ilcore.running.ledger import Ledger
from ilcore.running.workspace import Workspace
from ilcore.stores.places import answered, place_of


def headway(target: str) -> int:
    """Return how many tiles are restored and blocks assembled of the run for a target; 0 where nothing can be told."""
    try:
        # Of a store that does not answer nobody wants to wait for this.
        workspace = Workspace(place_of(str(Workspace.of(target).target), is_patient=False))
        with answered():
            if not workspace.ledger.exists():
                return 0
            ledger = Ledger(workspace.ledger, workspace.plan_of_run().tile_grid)
            return int((ledger.read("status") > 0).sum() + (ledger.read("assembled") > 0).sum())
    except (ILError, OSError, KeyError, ValueError):
        return 0
