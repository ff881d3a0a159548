"""What commands show: tables for people, drawn from plain mappings."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from flows.answers import err, out
from ilcore.grammar.commands import command
from ilcore.grammar.plain_text import plain

if TYPE_CHECKING:
    from ilcore.benchmark.score import Score
    from ilcore.planning.plan import RestorationPlan

MARKS = {"pass": "[green]pass[/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}


def show_info(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Show what `describe` found of a volume."""
    if as_json:
        _print_json(found)
        return
    if "images" in found:
        _show_images(found)
        return
    noise = found["noise"]
    out.print(_facts({name: value for name, value in found.items() if name != "noise" and value is not None}))
    out.print()
    header = ["channel", *(channel["channel"] for channel in noise)]
    out.print(_grid(header, [[name, *(channel[name] for channel in noise)] for name in noise[0] if name != "channel"]))


def _show_images(found: Mapping[str, Any]) -> None:
    rows = found["images"]
    header = list(dict.fromkeys(name for row in rows for name in row))
    more = command("il info", found["volume"])
    out.print(f"{found['volume']} holds {len(rows)} images; {more} --image NAME tells more of one", markup=False)
    out.print()
    out.print(_grid(header, [[row.get(name, "") for name in header] for row in rows]))


def show_damage(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Show what `il verify` found."""
    if as_json:
        _print_json(found)
        return
    damage = found["damage"]
    if not damage:
        out.print(f"sound: {found['voxels']} voxels of {found['target']} ({found['state']})", markup=False)
        return
    rows = [(each["place"], each["number"], each["where"], each["why"]) for each in damage]
    out.print(_grid(("level", "unit", "voxels", "what is wrong"), rows))
    out.print(f"\nto make these again: {command('il resume', found['target'])}", markup=False)


def show_plan(plan: "RestorationPlan", save: str | None, device: str) -> None:
    """Print a plan as YAML, save it where asked, and say what it will cost on a device."""
    from tasks.load import cost_of, write_plan

    # Plain, so that it can be piped into a file.
    print(plan.to_yaml(), end="")  # noqa: T201
    if save is not None:
        write_plan(plan, save)
    err.print(cost_of(plan, device), style="dim", markup=False)


def show_methods() -> None:
    """List the catalogue."""
    from ilcore.methods.catalogue import METHODS

    rows = [(m.name, ", ".join(sorted(m.tasks)), ", ".join(sorted(m.scopes)), m.summary) for m in METHODS.values()]
    out.print(_grid(("method", "task", "scope", "what it does"), rows))
    out.print("\nil methods NAME shows the knobs that --set can turn", markup=False)


def show_method(name: str, scores: str) -> None:
    """Show the card of one method and its knobs."""
    from ilcore.methods.card import facts
    from ilcore.methods.catalogue import find
    from ilcore.methods.entry import knobs
    from ilcore.methods.stopping import RULES

    entry = find(name)
    out.print(_facts({"method": entry.name, **facts(entry, _measured(scores).get(entry.name))}))
    out.print()
    out.print(_grid(("knob", "default"), knobs(entry).items()))
    rules = f"; stop=RULE ({', '.join(RULES)})" if entry.method.budget else ""
    out.print(f"\nworks on every method: stabilise=true (variance stabilisation){rules}", markup=False)


def methods_page(scores: str) -> str:
    """Return the cards of all methods in Markdown, with what the file of scores says of them."""
    from ilcore.methods.card import page
    from ilcore.methods.catalogue import METHODS

    return page(METHODS.values(), _measured(scores))


def _measured(scores: str) -> dict[str, dict[str, str]]:
    if not Path(scores).exists():
        return {}
    from ilcore.benchmark.score import ScoreFile
    from ilcore.benchmark.table import measured

    return measured(ScoreFile(Path(scores)).scores().values())


def show_status(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Show how far a restoration is."""
    if as_json:
        _print_json(found)
        return
    width = max(map(len, found)) + 2
    for name, value in found.items():
        # No table: it would break the command that goes on in the middle.
        out.print(Text(f"{name:<{width}}", style="bold") + _told(value))


def show_verdict(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Show every finding of the judge with its number and limit."""
    if as_json:
        _print_json(found)
        return
    rows = [(f["check"], f["verdict"], _short(f["measured"]), f["allowed"]) for f in found["findings"]]
    out.print(_grid(("check", "verdict", "measured", "allowed"), rows))
    for note in found["notes"]:
        out.print(f"\n{plain(note)}", style="dim", markup=False)
    out.print(f"\nverdict: {MARKS.get(found['verdict'], found['verdict'])}")


def show_scores(scores: "Sequence[Score]") -> None:
    """Show the mean PSNR of every method on every set in dB, and how many images a method refused."""
    from ilcore.benchmark.table import cells

    found, sets = cells(scores), list(dict.fromkeys(score.set for score in scores))
    rows = []
    for method in dict.fromkeys(score.method for score in scores):
        shown = [found.get((method, name)) for name in sets]
        refused = sum(score.method == method and score.psnr is None for score in scores)
        rows.append((method, *(f"{c.psnr:.2f}" if c else "-" for c in shown), refused or ""))
    out.print(_grid(("method", *sets, "refused"), rows))


def _facts(rows: Mapping[str, object]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, _told(value))
    return table


def _grid(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(MARKS.get(str(value), _told(value)) for value in row))
    return table


def _told(value: object) -> Text:
    """Return what a cell shows: words out of a scan are neither markup nor commands to the terminal."""
    if isinstance(value, list | tuple):
        between = " x " if all(isinstance(each, int) for each in value) else ", "
        return Text(between.join(plain(each) for each in value))
    return Text(plain(value))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_json(found: Mapping[str, Any]) -> None:
    # Not through rich, which would fold long lines.
    print(json.dumps(found, indent=1, default=str))  # noqa: T201
