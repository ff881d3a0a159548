"""Whatever makes a tensor follows the device of the tensor it is given: shown on a device that exists in name only."""

import os
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from ilcore import fit, restore
from ilcore.adapting.pretrain import TrainingSet, pretrain
from ilcore.adapting.weights import load_weights
from ilcore.degradations.imaging import Imaging
from ilcore.degradations.kernels import kernel_of
from ilcore.degradations.noise import add_noise
from ilcore.degradations.operators import Blur, Identity, Mask, gaussian_kernel
from ilcore.grammar import device_streams
from ilcore.grammar.devices import computing_on
from ilcore.grammar.errors import BadInput, DeviceError
from ilcore.networks.plain import Plain
from ilcore.qa.risk import risk_sure
from tests.claimed_device import Claimed, claimed_device
from tests.on_device import CORRELATED, COUNTED, WHITE, cases, moved, problem_of, stop_cases, streams
from tests.quick import DENOISERS, quick

CPU = torch.device("cpu")
#: One that fits a code, one that is shown the observation, one that estimates the risk.
ENDED = ("dip", "n2v", "sure")
#: What differs most from one method to the next; the rest is the same code for all, and slow in its sum.
FIRST = ("holes, channels, counts", "vmap", "one model", "plain")


@pytest.mark.medium
@pytest.mark.parametrize("name", DENOISERS)
def test_a_method_never_mixes_the_device_with_the_cpu(name):
    ways = cases(name, side=12, steps=1)
    for way in FIRST:
        if way in ways:
            _same_there_as_here(name, way, ways[way])


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("IL_SOAK"), reason="takes three minutes: runs in `make e2e` (IL_SOAK=1)")
@pytest.mark.parametrize("name", DENOISERS)
def test_no_way_to_carry_out_a_method_mixes_the_device_with_the_cpu(name):
    for way, case in cases(name, side=16, steps=3).items():
        _same_there_as_here(name, way, case)


@pytest.mark.medium
@pytest.mark.parametrize("name", ENDED)
def test_no_stopping_rule_mixes_the_device_with_the_cpu(name):
    for way, case in stop_cases(name, side=12, steps=2).items():
        _same_there_as_here(name, way, case)


@pytest.mark.parametrize("noise", [WHITE, COUNTED, CORRELATED], ids=["white", "counted", "correlated"])
def test_the_risk_never_mixes_the_device_with_the_cpu(noise):
    problem, entry = problem_of((1, 2, 16, 16), noise, holes=True), quick("nl_ridge")

    def risk(device):
        there = moved(problem, device)

        def predict(observed):
            return fit.restore(entry.method, replace(there, observed=observed), streams("nl_ridge", 1)).image

        return risk_sure(predict, there.observed, there.noise, streams("risk", 1), trusted=there.trusted)

    _same_there_as_here("risk_sure", "nl_ridge", risk)


OPERATORS = {
    "identity": Identity(),
    "mask": Mask(torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0)) > 0.3),
    "blur": Blur(gaussian_kernel(1.0)),
    "imaging": Imaging(kernel_of("bicubic", (2, 2)), (2, 2)),
}


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_an_operator_follows_the_device_of_the_image(name):
    operator, clean = OPERATORS[name], problem_of((1, 1, 12, 12)).observed
    _same_there_as_here(name, "forward", lambda device: operator.forward(clean.to(device)))
    _same_there_as_here(name, "adjoint", lambda device: operator.adjoint(operator.forward(clean.to(device))))
    _same_there_as_here(name, "inverse", lambda device: operator.pseudo_inverse(operator.forward(clean.to(device))))


@pytest.mark.parametrize("noise", [WHITE, COUNTED, CORRELATED], ids=["white", "counted", "correlated"])
def test_noise_is_the_same_on_every_device(noise):
    clean = problem_of((2, 1, 12, 12)).observed
    _same_there_as_here("add_noise", "", lambda device: add_noise(clean.to(device), noise, streams("noise", 2)))


@pytest.mark.medium
@pytest.mark.parametrize("method", ["nl_ridge", "zs_n2n", "adapted"])
def test_an_array_is_restored_where_it_was_asked_for_and_comes_back_where_it_was(method):
    noisy = problem_of((1, 1, 16, 16)).observed[0, 0]
    noisy[3:5, 4:6] = torch.nan
    told = {"overrides": {} if method == "nl_ridge" else {"steps": 1}, "noise_std": 0.1}
    wanted = restore(noisy, method, **told).image
    with claimed_device() as device, mock.patch("torch.cuda.is_available", return_value=True):
        with mock.patch("torch.cuda.device_count", return_value=1):
            there = restore(noisy.to(device), method, **told).image
            back = restore(noisy, method, device="cuda", **told).image
            numbers = restore(noisy.numpy(), method, device="cuda:0", **told).image
            kept = restore(noisy.to(device), method, device="cpu", **told).image
            with pytest.raises(BadInput, match=r"cuda:3 needs 4 GPUs, got 1 here; use cuda:0"):
                restore(noisy, method, device="cuda:3")
        assert isinstance(there, Claimed)
        assert isinstance(kept, Claimed)
        assert not isinstance(back, Claimed)
        for image in (there.cpu(), back, torch.from_numpy(numbers), kept.cpu()):
            assert torch.allclose(image, wanted, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("cuda", "needs a GPU, got none here; use cpu"),
        ("cuda:1", "device cuda:1 needs a GPU"),
        ("gpu", "must be auto, cpu, cuda or cuda:NUMBER, got 'gpu'"),
        ("meta", "must hold tensors here"),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_one_sentence(told, said):
    with mock.patch("torch.cuda.is_available", return_value=False), pytest.raises(BadInput, match=said):
        restore(np.zeros((8, 8), np.float32), device=told)


def test_a_failure_on_a_device_is_said_in_one_sentence_and_want_of_memory_is_left_to_others():
    said = "dip must run on cuda:0, but failed there: indices should"
    with pytest.raises(DeviceError, match=said) as caught, computing_on("cuda:0", "dip"):
        raise RuntimeError("indices should be on the same device\nand a long trace")
    assert "trace" not in str(caught.value)
    for device, error in (("cuda:0", torch.cuda.OutOfMemoryError("full")), ("cpu", RuntimeError("a bug"))):
        with pytest.raises(type(error), match=str(error)), computing_on(device, "dip"):
            raise error


def test_pretraining_is_the_same_on_a_device_and_goes_on_across_devices(tmp_path):
    network = Plain(
        width=4, depth=3, residual=True, pointwise_end=False, slope=0.0, bias=False, shuffle=2, grey=True
    )  # fmt: skip
    schooling = TrainingSet(steps=4, batch=2, side=16, learning_rate=0.1, checkpoint_every=2)
    corpus = [np.asarray(problem_of((1, 1, 24, 24)).observed[0, 0].clamp(0, 1))]
    wanted = load_weights(pretrain(network, schooling, corpus, tmp_path / "here.safetensors"))
    with claimed_device() as device, mock.patch("ilcore.adapting.pretrain.device_of", return_value=device):
        there = pretrain(network, schooling, corpus, tmp_path / "there.safetensors", device="cuda")
        _stopped_half_way(network, schooling, corpus, tmp_path / "both.safetensors")
    both = pretrain(network, schooling, corpus, tmp_path / "both.safetensors")
    for file in (there, both):
        found = load_weights(file)
        # A rounding may turn the sign of a tiny gradient; other draws would differ by some 1e-3.
        apart = max(float((found[name] - value).abs().mean()) for name, value in wanted.items())
        assert apart < 5e-5, file.name


def _stopped_half_way(network, schooling, corpus, out):
    """Write the checkpoint of two steps on the device, as a real one is written: with tensors that lie there."""

    def stop(step, steps, loss):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(network, schooling, corpus, out, stop, device="cuda")
    assert out.with_suffix(".checkpoint").exists()


@pytest.fixture(autouse=True)
def drawing():
    """Here too numbers are drawn as on a GPU, so that the images can be compared."""
    with mock.patch.object(device_streams, "DRAWING", {"cpu", "cuda"}):
        yield


def _same_there_as_here(name, way, case):
    try:
        here = case(CPU)
    except BadInput:
        return
    with claimed_device() as device:
        there = case(device)
        assert isinstance(there, Claimed), f"{name}, {way}: the image came out on {there.device}"
        assert torch.allclose(there.cpu(), here, atol=1e-4, equal_nan=True), f"{name}, {way}"
