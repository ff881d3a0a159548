"""Servers that come up slowly are waited for; those that will never come up are not."""

import pytest

from tasks.services import coming_up
from tasks.services.coming_up import STARTS, Waiting
from tasks.services.commands import Service
from tasks.services.supervising import Standing


def standing(name: str, state: str = "RUNNING", *, is_well: bool = False, pid: int = 7) -> Standing:
    return Standing(Service(name=name, command=()), state, is_well, "", pid)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(coming_up.time, "monotonic", lambda: now[0])
    return now


def test_while_its_process_lives_a_server_is_waited_for_and_that_is_said(clock: list[float]) -> None:
    told: list[str] = []
    waiting = Waiting(told.append, "/logs")
    for second in range(0, 3600, 5):
        clock[0] = second
        assert waiting.look([standing("fast", is_well=True), standing("slow"), standing("slower", "STARTING")]) == []
    assert told[0] == "well      fast"
    assert len(told) == 1 + 3600 // 20 - 1
    assert "slow, slower: still starting after 20 s" in told[1]
    assert "/logs" in told[1]
    assert waiting.look([standing("slow", is_well=True)]) == []
    assert told[-1] == "well      slow"


def test_a_server_that_the_supervisor_gave_up_is_lost(clock: list[float]) -> None:
    waiting = Waiting(lambda _: None, "/logs")
    assert waiting.look([standing("bad", "FATAL", pid=0), standing("good")]) == ["bad"]


def test_a_server_that_ends_again_and_again_is_lost(clock: list[float]) -> None:
    waiting = Waiting(lambda _: None, "/logs")
    found = [waiting.look([standing("bad", pid=pid)]) for pid in range(1, STARTS + 2)]
    assert found == [*[[]] * STARTS, ["bad"]]


def test_a_server_that_was_well_once_may_be_begun_as_often_as_it_likes(clock: list[float]) -> None:
    waiting = Waiting(lambda _: None, "/logs")
    waiting.look([standing("other", is_well=True)])
    assert all(waiting.look([standing("other", pid=pid)]) == [] for pid in range(1, 3 * STARTS))
