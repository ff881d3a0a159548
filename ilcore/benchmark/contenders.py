"""Who takes part: methods of the catalogue with their scope and knobs, the choice of the plan, programs of others."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

from ilcore.grammar.errors import BadInput
from ilcore.methods.catalogue import METHODS, find
from ilcore.methods.entry import Scalar

#: Words that are no method: the input itself, and what `il restore` does with no options.
NOISY, CHOOSE = "noisy", "choose"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One row of the table.

    Args:
        name: As it was written and is shown.
        method: Name in the catalogue, or one of the two words above; empty for a program.
        scope: tile (learn on the image alone) or volume (one model for the acquisition, as `il restore` learns it).
        overrides: Knobs.
        command: A program: words in which {noisy}, {restored} and {noise_std} are replaced.
    """

    name: str
    method: str = ""
    scope: str = "tile"
    overrides: tuple[tuple[str, Scalar], ...] = ()
    command: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Contender":
        """Read NAME[@SCOPE][:KNOB=VALUE,...].

        >>> Contender.of("dip@tile:steps=300,stop=vote").overrides
        (('steps', 300), ('stop', 'vote'))

        Raises:
            BadInput: For an unknown method, a scope that it does not have, or words that are no knobs.
        """
        place, _, settings = text.partition(":")
        method, _, scope = place.partition("@")
        if method not in (NOISY, CHOOSE):
            scopes = find(method).scopes
            scope = scope or ("tile" if "tile" in scopes else "volume")
            if scope not in scopes:
                raise BadInput(f"{method} learns per {' or '.join(sorted(scopes))}, got {text!r}; name one of these")
        return cls(name=text, method=method, scope=scope or "tile", overrides=_knobs(settings, text))

    @classmethod
    def program(cls, text: str) -> "Contender":
        """Read NAME=COMMAND; the command reads one .npy and writes another of the same shape.

        >>> Contender.program("theirs=denoise {noisy} {restored} --sigma {noise_std}").name
        'theirs'

        Raises:
            BadInput: When the name or one of the two files is missing.
        """
        name, _, command = text.partition("=")
        if not name or "{noisy}" not in command or "{restored}" not in command:
            raise BadInput(
                f"a program is named as NAME=COMMAND with {{noisy}} and {{restored}} in it, got {text!r}; "
                'for example bm4d="python bm4d_file.py {noisy} {restored} {noise_std}"'
            )
        return cls(name=name, command=tuple(shlex.split(command)))


def line_up(names: Iterable[str] = (), programs: Iterable[str] = (), scope: str = "tile") -> list[Contender]:
    """Return the contenders asked for, or all: the input, every denoiser of the catalogue, and the default choice.

    Args:
        names: As in `Contender.of`.
        programs: As in `Contender.program`.
        scope: tile, volume or both; only where no names are given.

    Raises:
        BadInput: See `Contender.of`.
    """
    wanted = list(names)
    if not wanted:
        scopes = ("tile", "volume") if scope == "both" else (scope,)
        spelt: Mapping[str, str] = {"tile": "", "volume": "@volume"}
        known = {name: entry for name, entry in METHODS.items() if "denoise" in entry.tasks}
        methods = [f"{name}{spelt[one]}" for one in scopes for name, entry in known.items() if one in entry.scopes]
        wanted = [NOISY, *methods, CHOOSE]
    found = [*map(Contender.of, wanted), *map(Contender.program, programs)]
    # Named twice is measured once.
    return list({contender.name: contender for contender in found}.values())


def _knobs(settings: str, text: str) -> tuple[tuple[str, Scalar], ...]:
    found = []
    for word in filter(None, settings.split(",")):
        name, equals, value = word.partition("=")
        if not equals:
            raise BadInput(f"knobs are written KNOB=VALUE, got {word!r} in {text!r}; for example dip:steps=300")
        found.append((name.strip(), yaml.safe_load(value)))
    return tuple(found)
