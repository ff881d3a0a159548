"""The card of a method, made from its entry and its recipe: nothing on it can disagree with what runs."""

from collections.abc import Iterable, Mapping

from ilcore.methods.entry import Entry, knobs

COSTS = (
    "under a second a megapixel once learnt",
    "seconds to a minute a megapixel",
    "minutes a megapixel",
    "tens of minutes a megapixel and more",
)

_HEAD = """
# Methods

Generated from the catalogue by `make docs`; do not edit. *Cost* is an order of magnitude on one data-centre GPU.
*Copes with* names the correlations of the noise, as `il info` tells them, under which a method works. Every setting can
be turned with `--set NAME=VALUE`; recipes that make steps also take `--set stop=RULE`, and all that
denoise take `--set stabilise=true`.
""".strip()


def facts(entry: Entry, measured: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what a card says, line by line.

    Args:
        entry: Of the catalogue.
        measured: What was measured of it, such as {"bsd68": "28.57 dB"}.
    """
    said = {
        "what it does": entry.summary,
        "question": entry.question,
        "when": entry.when,
        "needs": _listed(entry.needs) or "nothing",
        "copes with": f"{_listed(entry.copes_with)} noise",
        "tasks": _listed(entry.tasks),
        "scopes": _listed(entry.scopes) + (f"; {entry.tile_steps} steps on every tile" if entry.tile_steps else ""),
        "cost": COSTS[min(entry.cost, len(COSTS) - 1)],
        "reference": entry.reference,
    }
    if measured:
        said["measured"] = "; ".join(f"{name} {value}" for name, value in measured.items())
    return said


def card(entry: Entry, measured: Mapping[str, str] | None = None) -> str:
    """Return the card of one method in Markdown."""
    rows = "".join(f"| {name} | {_cell(value)} |\n" for name, value in facts(entry, measured).items())
    settings = ", ".join(f"`{name}={_value(value)}`" for name, value in knobs(entry).items())
    return f"## {entry.name}\n\n| | |\n|---|---|\n{rows}\nSettings: {settings or 'none'}\n"


def page(entries: Iterable[Entry], measured: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Return all cards, with a table of what there is above them."""
    listed, known = list(entries), measured or {}
    rows = "".join(
        f"| [{one.name}](#{one.name}) | {_cell(one.summary)} | {_listed(one.copes_with)} | {_listed(one.scopes)} "
        f"| {one.cost} |\n"
        for one in listed
    )
    table = f"| method | what it does | copes with | scopes | cost |\n|---|---|---|---|---|\n{rows}"
    return "\n".join([f"{_HEAD}\n", table, *(card(one, known.get(one.name)) for one in listed)])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
