"""A run: a plan and the folder where it is carried out. Everything else that a stage needs is opened from these two.

A run crosses to a worker as its plan's text and its target; each process opens what belongs to it once.
"""

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from ilcore.aims.result_face import result_face
from ilcore.formats.roi import open_roi
from ilcore.planning.plan import RestorationPlan
from ilcore.results.write import WriteTarget, open_target
from ilcore.running.ledger import Ledger
from ilcore.running.parts import Part, parts_of
from ilcore.running.scratch import Scratch
from ilcore.running.workspace import Workspace
from ilcore.stores.store import Place
from ilcore.tiling.grid import TileGrid
from ilcore.volumes.volume import Volume


@dataclass(frozen=True)
class Run:
    """One restoration under way, or over.

    Args:
        plan: What decides its voxels.
        workspace: The folder beside its target.
    """

    plan: RestorationPlan
    workspace: Workspace

    @classmethod
    def of(cls, plan: RestorationPlan) -> "Run":
        """Return the run of a plan, whether it was begun or not.

        Raises:
            BadInput: When its target is neither a local folder nor a name in a bucket.
        """
        return cls(plan, Workspace.of(plan.target))

    @classmethod
    def begun(cls, target: str | os.PathLike[str]) -> "Run":
        """Return the run that was begun for a target.

        Raises:
            BadPlan: When there was none, or its plan is lost or was edited.
        """
        return cls.in_workspace(Workspace.of(target))

    @classmethod
    def in_workspace(cls, workspace: Workspace) -> "Run":
        """Return the run that was begun in a workspace.

        Raises:
            BadPlan: When there was none, or its plan is lost or was edited.
        """
        return cls(workspace.plan_of_run(), workspace)

    def anew(self) -> "Run":
        """Return the same run with nothing open: what lies in its folder may have changed."""
        return Run(self.plan, self.workspace)

    @cached_property
    def document(self) -> str:
        """The plan as text. JSON: YAML takes a hundred times as long."""
        return json.dumps(self.plan.model_dump(mode="json"))

    def __reduce__(self) -> tuple[Any, ...]:
        return _in_this_process, (self.document, self.workspace.target)

    @cached_property
    def grid(self) -> TileGrid:
        """The tiles of the source."""
        return self.plan.tile_grid

    @cached_property
    def result_grid(self) -> TileGrid:
        """The same tiles on the grid of the result."""
        return self.grid.scaled(self.plan.factors) if self.plan.is_finer else self.grid

    @cached_property
    def face(self) -> Volume:
        """What the result is, its voxels aside."""
        return result_face(self.source, self.plan.factors) if self.plan.is_finer else self.source

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The image and its layers."""
        return parts_of(self.plan)

    @cached_property
    def ledger(self) -> Ledger:
        """What is done so far, tile by tile."""
        return Ledger(self.workspace.ledger, self.grid)

    @cached_property
    def scratch(self) -> Scratch:
        """Restored tiles on their way to the result."""
        return Scratch.of(self.workspace.scratch, self.plan, self.result_grid)

    @cached_property
    def source(self) -> Volume:
        """The volume that is restored."""
        return open_source(self.plan)

    @property
    def result(self) -> WriteTarget:
        """Level 0 of the result in the making."""
        return open_target(str(self.workspace.staging / "0"))


@lru_cache(maxsize=2)
def _in_this_process(document: str, target: Place) -> Run:
    return Run(RestorationPlan.of(json.loads(document)), Workspace(target))


def open_source(plan: RestorationPlan) -> Volume:
    """Open the source of a plan."""
    said = plan.source
    volume = open_roi(
        said.uri,
        axes=said.axes,
        level=said.level,
        missing=said.missing,
        image=said.image,
        roi=said.roi,
        roots=said.roots,
    )
    # Planning found out whether the mask hides anything: nobody need ask again.
    return volume if said.has_mask else replace(volume, mask=None)
