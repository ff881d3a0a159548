"""Whatever makes a tensor follows the device of the tensor it is given: shown on a device that exists in name only."""

import pytest
import torch

from ilcore.grammar.errors import BadInput
from ilcore.methods.catalogue import METHODS
from tests.claimed_device import Claimed, claimed_device
from tests.on_device import cases, stop_cases

CPU = torch.device("cpu")
BUDGETED = sorted(name for name in METHODS if METHODS[name].method.budget)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_never_mixes_the_device_with_the_cpu(name):
    for way, case in cases(name, side=16, steps=2).items():
        _same_there_as_here(name, way, case)


@pytest.mark.parametrize("name", BUDGETED)
def test_a_stopping_rule_never_mixes_the_device_with_the_cpu(name):
    for way, case in stop_cases(name, side=16, steps=2).items():
        _same_there_as_here(name, way, case)


def _same_there_as_here(name, way, case):
    try:
        here = case(CPU)
    except BadInput:
        return
    with claimed_device() as device:
        there = case(device)
        assert isinstance(there, Claimed), f"{name}, {way}: the image came out on {there.device}"
        assert torch.allclose(there.cpu(), here, atol=1e-4, equal_nan=True), f"{name}, {way}"
