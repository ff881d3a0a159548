"""A worker fetches the weights of a run once, however many units it does; nobody can spoil them for the next."""

from pathlib import Path

import numpy as np
import pytest

from ilcore.grammar.errors import BadWeights
from ilcore.running import volume_model
from ilcore.running.volume_model import keep_start_weights, start_of
from ilcore.running.workspace import Workspace
from tests.standins import planned


@pytest.fixture
def adapted(tmp_path: Path):
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).normal(size=(48, 48)).astype("f4"))
    plan = planned(
        tmp_path / "scan.npy", tmp_path / "out.ome.zarr", "adapted", axes="yx", scope="volume", noise_std=1.0
    )
    workspace = Workspace.of(plan.target)
    keep_start_weights(plan, workspace)
    return plan, workspace


def test_weights_are_loaded_once_and_handed_out_as_copies(adapted, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, workspace = adapted
    loads = []
    load = volume_model.load_denoiser
    monkeypatch.setattr(volume_model, "load_denoiser", lambda *words: loads.append(words) or load(*words))
    first = start_of(plan, workspace)[1]
    name, before = next((name, value.clone()) for name, value in first.items())
    first[name].zero_()
    again = start_of(plan, workspace)[1]
    assert len(loads) == 1
    assert again[name].equal(before)


def test_weights_that_are_others_now_are_noticed(adapted) -> None:
    plan, workspace = adapted
    start_of(plan, workspace)
    [kept] = workspace.weights.glob("start.*")
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(bytes(content))
    with pytest.raises(BadWeights, match="sha256"):
        start_of(plan, workspace)
