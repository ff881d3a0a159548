"""Several requests at once: their order, their number and their errors."""

import threading
import time

import pytest

from ilcore.stores.concurrent import abreast

REMOTE = "s3://bucket/scratch"


@pytest.mark.parametrize("place", ["s3://bucket/scratch", "/disk/scratch"])
def test_answers_come_in_order_however_long_each_takes(place: str) -> None:
    def work(number: int) -> int:
        time.sleep(0.02 if number % 2 else 0.0)
        return number * number

    assert list(abreast(work, range(9), place)) == [number * number for number in range(9)]
    assert list(abreast(work, [], place)) == []


def test_the_first_is_alone_and_then_a_few_are_under_way() -> None:
    seen: list[tuple[int, bool]] = []
    lock, busy = threading.Lock(), [0]
    meeting = threading.Barrier(3, timeout=20)

    def work(number: int) -> None:
        with lock:
            busy[0] += 1
            seen.append((busy[0], threading.current_thread() is threading.main_thread()))
        if number:
            meeting.wait()  # three come together, or this fails
        with lock:
            busy[0] -= 1

    list(abreast(work, range(7), REMOTE, at_once=3))
    assert seen[0] == (1, True)
    assert not any(is_main for _, is_main in seen[1:])
    assert max(count for count, _ in seen) <= 3


def test_no_more_is_asked_for_than_is_wanted_soon() -> None:
    asked = []

    def work(number: int) -> int:
        asked.append(number)
        return number

    answers = abreast(work, range(100), REMOTE, at_once=2)
    assert [next(answers), next(answers)] == [0, 1]
    answers.close()
    assert len(asked) <= 5


def test_an_error_comes_where_its_answer_would() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise OSError("gone")
        return number

    answers = abreast(work, range(5), REMOTE)
    assert [next(answers), next(answers)] == [0, 1]
    with pytest.raises(OSError, match="gone"):
        next(answers)
