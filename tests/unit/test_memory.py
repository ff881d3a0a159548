"""The memory of a tile that the catalogue declares is at least what is counted."""

import pytest

from ilcore.methods.catalogue import METHODS
from tests.bench.memory import kilobytes, most_bytes

#: One of each kind of network, so that a change of one of them is noticed.
WATCHED = ("n2v", "r2r", "zs_n2n", "dip", "deep_decoder", "adapted", "sure")


@pytest.mark.medium
@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("name", WATCHED)
def test_a_tile_takes_no_more_memory_than_is_declared(name, learning):
    measured = kilobytes(METHODS[name], 2, learning=learning)
    declared = METHODS[name].kilobytes[0 if learning else 1]
    # A tenth, since another version of torch may keep a little more.
    assert measured is None or measured <= 1.1 * declared


@pytest.mark.medium
def test_groups_of_patches_take_as_much_memory_whatever_the_tile():
    small, large = (most_bytes(METHODS["nl_ridge"], (side, side), learning=False) for side in (140, 190))
    assert large < 1.2 * small
    assert large < 600e6


def test_methods_that_learn_declare_it():
    assert all(entry.kilobytes[0] > 0 for entry in METHODS.values() if entry.method.budget > 0)
