"""A file of JSON lines, each on disk before the next is measured: a kill loses at most one."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Lines:
    """The file."""

    path: Path

    def add(self, content: Mapping[str, Any]) -> None:
        """Append one line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(content) + "\n"
        with self.path.open("a+b") as file:
            # A line that was cut by a kill must not spoil this one.
            if file.tell() and not self._ends_whole():
                line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the lines; those that were cut short are skipped."""
        if not self.path.exists():
            return
        for line in self.path.read_text(errors="replace").splitlines():
            try:
                found = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(found, dict):
                yield found

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
