"""The stages of a run as Prefect shows them: each a task of the flow, with its progress in the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.running.observer import Answer, Counter, Observer
from tasks.progress import Progress


class OnPrefect(Observer):
    """Runs each stage as a task of the flow that this is called in."""

    def stage(self, name: str, work: Callable[[], Answer]) -> Answer:
        @task(name=name, task_run_name=name, cache_policy=NO_CACHE)
        def stage() -> Answer:
            return work()

        return stage()

    @contextmanager
    def counting(self, name: str, total: int, unit: str, *, already: int = 0) -> Iterator[Counter]:
        with Progress.of(name, total, unit, already=already) as progress:
            yield progress
