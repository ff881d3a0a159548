"""What can be wished of a restoration is a parameter of its flow, and reaches the plan."""

import inspect
from dataclasses import fields

import pytest

from flows.restore import restore_volume
from ilcore.planning.make import Wishes

#: Needs Prefect at once, whose import alone takes seconds.
pytestmark = pytest.mark.medium

#: Set on the way, not by whoever starts a flow.
INNER = {"weights_uri", "tile_steps"}


def test_every_wish_is_a_parameter_of_the_flow():
    parameters = set(inspect.signature(restore_volume.fn).parameters)
    assert {field.name for field in fields(Wishes)} - INNER <= parameters


def test_the_flow_hands_on_every_wish():
    source = inspect.getsource(restore_volume.fn)
    assert all(f"{field.name}=" in source for field in fields(Wishes) if field.name not in INNER)
