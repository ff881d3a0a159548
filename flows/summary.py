"""The summary of a restoration as markdown, for Prefect's pages."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.outcome import Outcome


def summary_markdown(outcome: "Outcome") -> str:
    """Return verdict, places, numbers and findings."""
    ended = "published" if outcome.is_published else "refused by the QA gate, nothing was published"
    lines = [
        f"# {Path(outcome.target).name}: {outcome.verdict}",
        f"{ended}  ",
        f"result `{outcome.target}`  ",
        f"report `{outcome.report}`  ",
        *([f"MLflow {outcome.page}"] if outcome.page else []),
        *_numbers(outcome.numbers),
        "",
        "| check | verdict | measured | allowed |",
        "|---|---|---|---|",
        *(_finding(finding) for finding in outcome.findings),
        *(f"\n{note}" for note in outcome.notes),
    ]
    return "\n".join(lines)


def _numbers(numbers: Mapping[str, float | None]) -> list[str]:
    known = [f"| {name} | {value:.4g} |" for name, value in numbers.items() if value is not None]
    return ["", "| number | value |", "|---|---|", *known] if known else []


def _finding(finding: Mapping[str, Any]) -> str:
    return f"| {finding['check']} | {finding['verdict']} | {finding['measured']:.4g} | {finding['allowed']} |"


def night_markdown(night: Mapping[str, Any], page: str) -> str:
    """Return what a night did, scan by scan."""
    counts = ", ".join(f"{count} {name}" for name, count in night["counts"].items()) or "nothing was to be done"
    lines = [f"# {night['archive']}, {night['night']}", f"{counts}  ", f"page `{page}`", ""]
    if night["done"]:
        lines += ["| scan | ended | verdict | left out | why |", "|---|---|---|---|---|"]
    lines += [
        f"| {_cell(each['source'])} | {each['standing']} | {each['outcome'].get('verdict', '')} "
        f"| {_cell(each['degraded'])} | {_cell(each['why'])} |"
        for each in night["done"]
    ]
    return "\n".join([*lines, "", *(f"- {_cell(each)}" for each in night["trouble"])])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
