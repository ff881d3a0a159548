"""What commands show: tables for people, drawn from plain mappings."""

from collections.abc import Iterable, Mapping, Sequence

from rich.panel import Panel
from rich.table import Table

MARKS = {"pass": "[green]pass[/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}


def facts(title: str, rows: Mapping[str, object]) -> Table:
    """Return name and value pairs under a title."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def grid(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return rows under a header."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(MARKS.get(str(value), str(value)) for value in row))
    return table


def box(title: str, text: str) -> Panel:
    """Return text in a frame."""
    return Panel(text, title=title, title_align="left", expand=False)
