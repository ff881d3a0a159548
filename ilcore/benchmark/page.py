"""Pages of measurements: tables in Markdown, the machine's name, and the part of a page that a measurement owns."""

import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write_between(path: Path, text: str, *, title: str = "Benchmarks", part: str = "") -> None:
    """Put a text between the markers of a file in one step; what stands outside stays; missing markers are added.

    Args:
        path: The page; begun where there is none.
        text: What was measured.
        title: Of a page that is begun.
        part: Which measurement, where a page holds several, such as "on a CPU".
    """
    begin, end = (mark.replace("measured", f"measured {part}") if part else mark for mark in (BEGIN, END))
    old = path.read_text() if path.exists() else f"# {title}\n"
    if begin not in old or end not in old:
        old = f"{old.rstrip()}\n\n{begin}\n{end}\n"
    before, rest = old.split(begin, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}")
    partial.replace(path)


def grid(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
