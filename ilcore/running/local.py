"""Carry out a plan in this process: no cluster, no flow, no tracking. Same stages, same bytes."""

from dataclasses import asdict

from ilcore.grammar.devices import kind_of
from ilcore.planning.plan import RestorationPlan
from ilcore.qa.verdict import QAReport
from ilcore.results.pyramid import write_rungs
from ilcore.running import stages
from ilcore.running.ledger import Ledger
from ilcore.running.null_test import make_null_test
from ilcore.running.record import note_device, read_findings, write_record
from ilcore.running.tile import restore_unit
from ilcore.running.volume_model import learn_volume_model
from ilcore.running.workspace import Workspace


def carry_out(plan: RestorationPlan, *, device: str = "cpu", overwrite: bool = False) -> QAReport:
    """Restore, judge and, unless the verdict is fail, publish.

    Raises:
        ILError: When input, disk or another run is in the way.
    """
    workspace = Workspace.of(plan.target)
    with workspace.locked():
        standing = stages.prepare(plan, workspace, overwrite=overwrite)
        if standing.is_published:
            return read_findings(workspace)
        ledger = Ledger(workspace.ledger, plan.tile_grid)
        if standing.open_units:
            note_device(workspace, kind_of(device), standing.open_units)
        learnt = learn_volume_model(plan, workspace, device)
        for unit in ledger.open_units():
            workspace.check_lock()
            restore_unit(plan, workspace, unit.index, device)
        with ledger.book() as book:
            for number in ledger.open_blocks():
                workspace.check_lock()
                book.add(stages.assemble_block(plan, workspace, number))
        for unit in plan.tile_grid.units():
            stages.measure_seams(plan, workspace, unit)
        make_null_test(plan, workspace, device)
        report = stages.verdict_of(plan, workspace)
        if report.verdict != "fail":
            write_rungs(stages.coarser_levels(plan, workspace.staging))
            stages.complete(plan, workspace, report)
        write_record(plan, workspace, report, {"model": asdict(learnt)})
        if report.verdict != "fail":
            stages.publish_result(plan, workspace)
        return report
