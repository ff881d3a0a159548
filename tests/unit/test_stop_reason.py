"""Why a fit ended is decided by its kind; its words are for people alone."""

import json
from typing import get_args

import pytest
import torch

from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.stop_reason import StopKind, StopReason
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure
from ilcore.running.tile_record import REASONS
from ilcore.running.volume_model import learnt_before
from ilcore.running.workspace import Workspace
from ilcore.stores.places import make_folder, write_text


def test_the_ledger_knows_every_kind():
    assert set(get_args(StopKind)) <= set(REASONS)


def test_it_reads_as_its_words():
    assert f"{StopReason.budget(7)}" == "budget of 7 steps"


@pytest.mark.parametrize(("method", "kind"), [("nl_ridge", "applied"), ("nlm", "applied"), ("zs_n2n", "budget")])
def test_every_method_says_of_what_kind_its_end_is(method, kind):
    entry = METHODS[method] if method != "zs_n2n" else configure(METHODS[method], {"steps": 2, "network.width": 4})
    problem = Problem(observed=torch.rand(1, 1, 24, 24), noise=(Noise(read_std=0.1),))
    done = fit.restore(entry.method, problem, Streams.of(0, "end", [(0,)]))
    assert [reason.kind for reason in done.stopped] == [kind]


@pytest.mark.parametrize("reason", ["diverged at step 3", "budget of 9 steps"])
def test_a_note_of_version_0_1_says_it_in_words(reason, tmp_path):
    workspace = Workspace.of(tmp_path / "out.ome.zarr")
    make_folder(workspace.weights)
    write_text(workspace.weights / "volume.json", json.dumps({"path": None, "reason": reason, "curve": [[0, 1.0]]}))
    learnt = learnt_before(workspace)
    assert (learnt.reason, learnt.has_diverged) == (reason, reason.startswith("diverged"))
