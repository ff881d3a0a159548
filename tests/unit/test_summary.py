"""What a run says of itself to Prefect and MLflow."""

import re

import pytest

from flows.summary import summary_markdown
from ilcore.qa.verdict import RUN_LIMITS
from tasks.outcome import Outcome
from tasks.tracking.run_payload import metric_name

#: Needs Prefect at once, whose import alone takes seconds.
pytestmark = pytest.mark.medium

FINDING = {"check": "seams", "verdict": "fail", "measured": 3.21987, "allowed": "at most 1.5", "why": "1 is right"}


@pytest.mark.parametrize("check", RUN_LIMITS)
def test_every_check_has_a_name_that_mlflow_takes(check: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric_name(check))


def test_checks_keep_different_names() -> None:
    assert len({metric_name(check) for check in RUN_LIMITS}) == len(RUN_LIMITS)


def test_a_refused_result_is_said_to_be_refused() -> None:
    told = summary_markdown(Outcome(target="/r/scan.ome.zarr", verdict="fail", report="r.html", findings=(FINDING,)))
    assert told.startswith("# scan.ome.zarr: fail")
    assert "nothing was published" in told
    assert "| seams | fail | 3.22 | at most 1.5 |" in told


def test_numbers_that_are_not_known_are_left_out() -> None:
    outcome = Outcome(target="/r/a.zarr", verdict="pass", report="r", numbers={"tiles": 4.0, "gain_db_estimated": None})
    told = summary_markdown(outcome)
    assert "| tiles | 4 |" in told
    assert "gain" not in told
    assert "published  " in told
