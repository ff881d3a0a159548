"""A run on its way to MLflow: told at once, or kept in order where MLflow does not take it, and sent later.

QUEUE/<run>/0000.json, 0001.json ...   what is to be told, in order: begin, note, end
QUEUE/<run>/0001-0-report.html ...     copies of the files that belong to it
QUEUE/<run>/run-id                     which run of MLflow it is, once that is known

An entry gets its name when it is whole, and is removed when MLflow has it: whatever is interrupted is told again, never
left out.
"""

import json
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from ilcore.grammar.errors import TrackingError
from ilcore.stores.places import Place, entries, make_folder, remove, write_bytes, write_text
from tasks.tracking.client import ENVIRONMENT, Sheet, Tracker, VolumeRun, environment_lock

BEGIN, NOTE, END, KEEP = "begin", "note", "end", "keep"
#: Which run of MLflow a queued run is.
_RUN_ID = "run-id"


@dataclass
class Journal:
    """What one run has to tell.

    Args:
        uri: MLflow's address.
        queue: Where runs wait that MLflow does not take.
        run_id: Of MLflow's run, once that is known.
    """

    uri: str
    queue: Place
    run_id: str | None = None
    _folder: Place | None = None
    _entries: int = 0

    def begin(self, volume: VolumeRun, sheet: Sheet) -> None:
        """Begin the run of a volume, or take up the unfinished one."""
        # As it is now: whenever this is sent, other things may be installed.
        texts = {**sheet.texts, ENVIRONMENT: environment_lock()}
        self._tell({"what": BEGIN, "volume": asdict(volume)}, replace(sheet, texts=texts))

    def note(self, sheet: Sheet) -> None:
        """Add a sheet to the run."""
        self._tell({"what": NOTE}, sheet)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self._tell({"what": END, "status": status}, Sheet())

    def keep(self, experiment: str, name: str, sheet: Sheet, status: str) -> None:
        """Tell of something that is over, as a run of its own."""
        self._tell({"what": KEEP, "experiment": experiment, "name": name, "status": status}, sheet)

    @property
    def is_waiting(self) -> bool:
        """Tell whether something of the run has not reached MLflow."""
        return self._folder is not None

    @property
    def page(self) -> str:
        """Return how to look at the run."""
        if self._folder is None and self.run_id is not None:
            with suppress(TrackingError):
                return Tracker(self.uri).page(self.run_id)
        return (
            f"{self.uri} does not answer: the records wait in {self.queue}, and are sent by the next run or `il track`"
        )

    def _tell(self, entry: Mapping[str, Any], sheet: Sheet) -> None:
        told = {**entry, "uri": self.uri, "at": _now_ms()}
        if self._folder is None:
            try:
                self.run_id = _carried_out(Tracker(self.uri), self.run_id, told, sheet)
                return
            except TrackingError as error:
                sys.stderr.write(f"warning: {error}; its records wait in {self.queue}\n")
        # What came before must come first: from now on everything waits.
        self._wait(told, sheet)

    def _wait(self, entry: Mapping[str, Any], sheet: Sheet) -> None:
        if self._folder is None:
            self._folder = self.queue / f"{_now_ms()}-{uuid.uuid4().hex[:8]}"
            make_folder(self._folder)
            if self.run_id is not None:
                write_text(self._folder / _RUN_ID, self.run_id)
        number = f"{self._entries:04}"
        files = {}
        for n, (place, folder) in enumerate(sheet.files.items()):
            # By its own name in a folder of its own: MLflow calls an artifact as its file is called.
            copy = self._folder / f"{number}-{n}" / place.name
            make_folder(copy.parent)
            write_bytes(copy, place.read_bytes())
            files[f"{number}-{n}/{place.name}"] = folder
        content = {**entry, "sheet": {**asdict(replace(sheet, files={})), "files": files}}
        write_text(self._folder / f"{number}.json", json.dumps(content))
        self._entries += 1


def send(queue: Place) -> tuple[int, int]:
    """Tell MLflow what waits in a queue; return how many runs were told to the end, and how many still wait.

    Raises:
        TrackingError: MLflow does not answer; everything it has not taken waits on.
    """
    told = 0
    for folder in entries(queue):
        told += _sent(folder)
    return told, len(waiting(queue))


def catch_up(queue: Place) -> None:
    """Send what waits; whatever hinders that must not hinder the run."""
    try:
        send(queue)
    except Exception as error:
        sys.stderr.write(f"warning: records of earlier runs wait on in {queue}: {error}\n")


def waiting(queue: Place) -> list[Place]:
    """Return the runs of a queue of which something waits."""
    return [folder for folder in entries(queue) if _entries_in(folder)]


def _entries_in(folder: Place) -> list[Place]:
    return [place for place in entries(folder) if place.suffix == ".json"]


def _sent(folder: Place) -> bool:
    """Tell what waits of one run, in order; return whether that was its end."""
    run_id, is_over = _run_id_in(folder), False
    for place in _entries_in(folder):
        entry = json.loads(place.read_text())
        stored = entry.pop("sheet")
        files = {folder / name: where for name, where in stored.pop("files").items()}
        run_id = _carried_out(Tracker(entry["uri"]), run_id, entry, _sheet_of(stored, files))
        write_text(folder / _RUN_ID, str(run_id))
        remove(place)
        for copy in files:
            remove(copy.parent)
        is_over = entry["what"] in (END, KEEP)
    if is_over:
        remove(folder)
    return is_over


def _run_id_in(folder: Place) -> str | None:
    try:
        return str((folder / _RUN_ID).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sheet_of(stored: Mapping[str, Any], files: Mapping[Any, str]) -> Sheet:
    curves = {name: [(int(step), float(value)) for step, value in curve] for name, curve in stored["curves"].items()}
    return Sheet(**{**stored, "curves": curves}, files=files)


def _carried_out(tracker: Tracker, run_id: str | None, entry: Mapping[str, Any], sheet: Sheet) -> str:
    """Tell MLflow one entry, as of the time when it was made; return the run's id."""
    at = int(entry["at"])
    match entry["what"]:
        case "begin":
            return tracker.begin(VolumeRun(**entry["volume"]), sheet, at=at)
        case "keep":
            return tracker.keep(entry["experiment"], entry["name"], sheet, entry["status"], at=at)
    if run_id is None:
        raise TrackingError(f"the run of an entry must be known, got none in the queue of {entry['uri']}")
    if entry["what"] == NOTE:
        tracker.note(run_id, sheet, at=at)
    else:
        tracker.end(run_id, entry["status"], at=at)
    return run_id


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
