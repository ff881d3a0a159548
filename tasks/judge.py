"""Judge the assembled result without knowing the truth, and tell what was found."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.grammar.commands import command
from ilcore.grammar.errors import BadPlan
from ilcore.keeping.verify import is_over
from ilcore.planning.plan import RestorationPlan
from ilcore.qa.verdict import QAReport
from ilcore.running.damage import read_damage
from ilcore.running.ledger import STATUS, Ledger
from ilcore.running.null_test import make_null_test
from ilcore.running.record import read_record
from ilcore.running.stages import measure_seams, verdict_of
from ilcore.running.workspace import Workspace
from ilcore.stores.places import Place
from tasks.executors.cluster import Cluster, worker_device
from tasks.progress import Progress


@task(name="judge", cache_policy=NO_CACHE)
def judge(plan: RestorationPlan, workspace: Workspace, cluster: Cluster) -> QAReport:
    """Measure the seams of every tile, make the null test, and return all findings with their verdict."""
    grid = plan.tile_grid
    with Progress.of("judge", math.prod(grid.unit_shape), "units") as progress:
        for _ in cluster.spread(partial(measure_seams, plan, workspace), grid.units(), anywhere=True):
            progress.step()
    cluster.alone(partial(_null_test, plan, workspace), cluster.device)
    return verdict_of(plan, workspace)


def _null_test(plan: RestorationPlan, workspace: Workspace, device: str) -> None:
    make_null_test(plan, workspace, worker_device(device))


def standing(target: str) -> dict[str, Any]:
    """Return how far the run of a target is, as plain values.

    Raises:
        BadPlan: When no run was begun.
    """
    workspace = Workspace.of(target)
    plan = workspace.plan_of_run()
    found: dict[str, Any] = {
        "target": str(workspace.target),
        "method": plan.method,
        "scope": plan.scope,
        "why": plan.why,
    }
    if (workspace.ledger / "zarr.json").exists():
        found |= _counts(Ledger(workspace.ledger, plan.tile_grid))
    record = read_record(workspace) if workspace.record.exists() or is_over(workspace) else None
    if record is None:
        return found | {"state": f"not finished: {command('il resume', target)}"}
    return (
        found
        | {"state": _state(record, target), "verdict": record["verdict"], "report": str(workspace.report)}
        | _damage(workspace)
    )


def _damage(workspace: Workspace) -> dict[str, Any]:
    found = len(read_damage(workspace))
    again = command("il resume", workspace.target)
    return {"damage": f"{found} pieces, found by il verify; to make them again: {again}"} if found else {}


def judgement(target: str) -> dict[str, Any]:
    """Return verdict and findings of a finished run, as plain values.

    Raises:
        BadPlan: When no run was begun or it is not finished.
    """
    workspace = Workspace.of(target)
    workspace.plan_of_run()
    if not workspace.record.exists() and not is_over(workspace):
        raise BadPlan(f"a verdict wants a finished run, got one that is still going on; {command('il resume', target)}")
    record = read_record(workspace)
    told = {name: record.get(name, []) for name in ("findings", "notes")}
    return {"target": str(workspace.target), "verdict": record["verdict"], **told}


def report_page(target: str, copy: str | None) -> Place:
    """Return where the report of a finished run lies, copied to a place of the user's where asked.

    Raises:
        BadPlan: When there is none.
    """
    workspace = Workspace.of(target)
    if not workspace.report.exists():
        again = command("il resume", target)
        raise BadPlan(f"a report wants a finished run of {target}, got none in {workspace.root}; {again}")
    if copy is None:
        return workspace.report
    Path(copy).write_bytes(workspace.report.read_bytes())
    return Path(copy)


def _counts(ledger: Ledger) -> dict[str, Any]:
    status = ledger.read("status")
    counted = {word: int((status == number).sum()) for number, word in enumerate(STATUS)}
    assembled = ledger.read("assembled")
    return {
        "tiles": f"{status.size - counted['open']} of {status.size} done",
        **{f"tiles {word}": count for word, count in counted.items() if count and word != "open"},
        "blocks": f"{int(assembled.sum())} of {assembled.size} assembled",
    }


def _state(record: Mapping[str, Any], target: str) -> str:
    if record["published"]:
        return "published"
    return (
        "refused by the QA gate"
        if record["verdict"] == "fail"
        else f"judged, not published: {command('il resume', target)}"
    )
