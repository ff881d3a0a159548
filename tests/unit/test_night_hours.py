"""What a night has left of time is passed on to the choice of each scan."""

from types import SimpleNamespace

import pytest

from ilcore.planning.options import RestoreOptions
from tasks.nights.steps import _share, _within

#: Needs Prefect at once, whose import alone takes seconds.
pytestmark = pytest.mark.medium


def item(size, todo="new"):
    return SimpleNamespace(scan=SimpleNamespace(size=size), todo=todo)


def night(seconds, ratio=1.0):
    return SimpleNamespace(seconds_left=seconds, ratio=ratio)


def test_scans_share_the_core_hours_by_their_size():
    first, rest = item(300), [item(100), item(200), item(900, todo="improve")]
    assert _share(night(7200.0), first, rest, workers=4) == pytest.approx(2 * 4 * 300 / 600)


def test_work_that_took_longer_than_expected_leaves_less():
    assert _share(night(3600.0, ratio=2.0), item(1), [], workers=1) == pytest.approx(0.5)


def test_a_night_without_an_end_sets_no_limit():
    assert _share(night(None), item(1), [], workers=1) is None
    assert _within(RestoreOptions(), None).hours is None


def test_a_night_that_is_over_leaves_next_to_nothing():
    assert 0 < _share(night(-5.0), item(1), [], workers=1) < 0.001


def test_what_the_policy_says_of_hours_stays():
    assert _within(RestoreOptions(hours=3.0), 0.5).hours == 3.0
    assert _within(RestoreOptions(), 0.5).hours == 0.5
