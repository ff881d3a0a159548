"""What a night writes down of itself: what it found when it began, what it did, and where that is kept."""

import datetime
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.utilities.urls import url_for

from ilcore.archives.books import Books
from ilcore.archives.due import read_schedule
from ilcore.archives.policy import Archive
from ilcore.archives.standing import died_words, missed_words
from ilcore.stores.places import Place
from tasks.nights.steps import BAD, Night
from tasks.tracking.client import EXPERIMENT, NIGHT, Sheet, tracking_uri
from tasks.tracking.journal import Journal


def look_back(night: Night, left: Mapping[str, Any] | None) -> None:
    """Note which nights never began since the last one, and which ended without a word.

    Args:
        night: The night that begins.
        left: What such a night left in the books.
    """
    schedule = read_schedule(night.books.schedule)
    names = [*night.books.nights(), *([str(left.get("night"))] if left else ())]
    if schedule is not None:
        for words in missed_words(schedule, names, datetime.datetime.now(tz=datetime.UTC), begins=True):
            night.meet(words)
    if left is not None:
        night.meet(died_words(left))
        _write_died(night, left)


def _write_died(night: Night, left: Mapping[str, Any]) -> None:
    """Give a night that died its place among the nights, with what the scans' entries say of it."""
    name, counts = str(left.get("night")), dict[str, int]()
    done = [entry for entry in night.books.all() if entry.night == name]
    for entry in done:
        counts[entry.standing] = counts.get(entry.standing, 0) + 1
    night.books.write_night(name, {
        "night": name, "archive": night.archive.name, "run": left.get("run", ""), "seconds": 0.0, "scans": len(done),
        "counts": counts, "trouble": [died_words(left)], "done": [asdict(entry) for entry in done], "not_done": [],
    })  # fmt: skip


@task(name="track-night", cache_policy=NO_CACHE)
def track_night(archive: Archive, summary: Mapping[str, Any], page: Place) -> None:
    """Keep what a night did as a run of its own: scans that never came to a run stand there too."""
    uri = tracking_uri(f"{archive.books}/night", archive.night.tracking_uri)
    rows = [
        {
            name: entry[name]
            for name in ("source", "target", "standing", "todo", "why", "degraded", "drift", "instrument")
        }
        for entry in summary["done"]
    ]
    rest = [{**dict.fromkeys(rows[0] if rows else ("standing",), ""), **each} for each in summary["not_done"]]
    sheet = Sheet(
        metrics={"scans": summary["scans"], "seconds": summary["seconds"], **summary["counts"]},
        tags={NIGHT: f"{archive.name} {summary['night']}", "il.archive": archive.name},
        tables={"scans.json": rows, "not_done.json": rest}, files={page: "page"},
    )  # fmt: skip
    bad = BAD & set(summary["counts"])
    journal = Journal(uri, Books.of(archive.books).untracked)
    name = f"{archive.name}-{summary['night']}"
    journal.keep(f"{EXPERIMENT}-nights", name, sheet, "FAILED" if bad else "FINISHED")


@task(name="close", cache_policy=NO_CACHE)
def close_night(night: Night) -> dict[str, Any]:
    """Write down what the night did, and return it."""
    done = {entry.source for entry in night.done}
    counts: dict[str, int] = {}
    for entry in night.done:
        counts[entry.standing] = counts.get(entry.standing, 0) + 1
    for entry in night.done:
        if entry.is_spoilt:
            night.meet(f"{entry.source}: {entry.why}")
    rest = [item for item in night.items if item.scan.source not in done]
    for item in rest:
        if item.todo == "quarantine":
            night.books.note(replace(item.entry(night.name, "quarantined", item.why), tries=item.tries))
    content: Mapping[str, Any] = {
        "night": night.name,
        "archive": night.archive.name,
        "run": page_of_run(),
        "seconds": time.monotonic() - night.began,
        "scans": len(night.items),
        "counts": counts,
        "trouble": list(night.trouble),
        "done": [asdict(entry) for entry in night.done],
        "not_done": [
            {"source": item.scan.source, "target": item.scan.target, "todo": item.todo, "why": item.why}
            for item in rest
        ],
    }
    night.books.write_night(night.name, content)
    return dict(content)


def page_of_run() -> str:
    """Return where Prefect shows this night; empty where its pages end with the run."""
    if flow_run.id is None or not PREFECT_API_URL.value():
        return ""
    return url_for("flow-run", obj_id=str(flow_run.id), url_type="ui") or ""
