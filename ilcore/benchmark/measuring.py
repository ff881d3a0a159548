"""All contenders on all images: each contender in a process of its own, each score on disk at once."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection

from ilcore.benchmark.contenders import Contender
from ilcore.benchmark.images import BenchmarkImage
from ilcore.benchmark.runs import Settings, blank_score, measure
from ilcore.benchmark.score import Score, ScoreFile

_GRACE_SECONDS = 20.0


def measure_each(
    contenders: Sequence[Contender],
    pictures: Sequence[BenchmarkImage],
    settings: Settings,
    file: ScoreFile,
    *,
    is_apart: bool = True,
) -> Iterator[Score]:
    """Measure what the file does not hold yet, and yield each score once it is in the file.

    Args:
        contenders: Rows of the table.
        pictures: Images.
        settings: What is the same for all.
        file: Where scores are kept; what is there already under the same settings is not measured again.
        is_apart: Whether every contender gets a fresh process: its peak memory is its own, and its crash is a row.
    """
    for contender, waiting in open_work(contenders, pictures, settings, file):
        for score in (_apart if is_apart else _here)(contender, waiting, settings):
            file.add(score)
            yield score


def open_work(
    contenders: Sequence[Contender], pictures: Sequence[BenchmarkImage], settings: Settings, file: ScoreFile
) -> list[tuple[Contender, list[BenchmarkImage]]]:
    """Return what is left to be measured, contender by contender."""
    done = file.done()
    left = [
        (contender, [one for one in pictures if blank_score(contender, one, settings).key not in done])
        for contender in contenders
    ]
    return [(contender, waiting) for contender, waiting in left if waiting]


def asked(
    contenders: Sequence[Contender], pictures: Sequence[BenchmarkImage], settings: Settings, file: ScoreFile
) -> list[Score]:
    """Return the scores of what was asked that the file holds, in the order asked."""
    held = file.scores()
    keys = [blank_score(contender, one, settings).key for contender in contenders for one in pictures]
    return [held[key] for key in keys if key in held]


def _here(contender: Contender, pictures: Sequence[BenchmarkImage], settings: Settings) -> Iterator[Score]:
    for picture in pictures:
        yield measure(contender, picture, settings)


def _apart(contender: Contender, pictures: Sequence[BenchmarkImage], settings: Settings) -> Iterator[Score]:
    left = list(pictures)
    while left:
        for score in _of_one_process(contender, left, settings):
            left.pop(0)
            yield score


def _of_one_process(contender: Contender, pictures: Sequence[BenchmarkImage], settings: Settings) -> Iterator[Score]:
    """Yield scores until all are done or the process dies, which is the score of the image it died on."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sending, contender, list(pictures), settings), daemon=True)
    process.start()
    sending.close()
    try:
        for picture in pictures:
            try:
                yield receiving.recv()
            except EOFError:
                process.join()
                died = f"its process died with exit code {process.exitcode}"
                yield replace(blank_score(contender, picture, settings), refused=died, is_final=False)
                return
        # It has said all it has to say; only its own end tidies up what it holds.
        process.join(_GRACE_SECONDS)
    finally:
        receiving.close()
        process.terminate()
        process.join()


def _work(sending: Connection, contender: Contender, pictures: list[BenchmarkImage], settings: Settings) -> None:
    # Ctrl-C is for the parent to explain; here it only ends the work.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for picture in pictures:
        sending.send(measure(contender, picture, settings))
    sending.close()
