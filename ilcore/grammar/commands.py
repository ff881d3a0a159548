"""Commands that people are told to give, so that a shell takes them as they are shown."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from ilcore.grammar.plain_text import plain


def command(words: str, *operands: object) -> str:
    r"""Return a command with its operands, each as a shell takes it back.

    Args:
        words: What stands before the operands; a program that the shell would not find is told by its path.
        operands: Paths, addresses and names; one that begins with a dash is led by `./`, for it is no option.

    >>> command("cd", "night 3/clean.ome.zarr")
    "cd 'night 3/clean.ome.zarr'"
    """
    told = (f"./{each}" if each.startswith("-") else each for each in map(str, operands))
    name, _, rest = words.partition(" ")
    return " ".join([_program(name), *([rest] if rest else []), *map(quoted, told)])


def quoted(word: str) -> str:
    r"""Return one word as a shell takes it back, without a character that would not be shown in itself.

    >>> print(quoted("two\nlines"))
    $'two\x0alines'
    """
    if plain(word) == word:
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word))}'"


def _program(name: str) -> str:
    """Return how a shell calls a program: as it is, or by its path where it lies beside Python and not in the PATH."""
    own = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if not own.is_file() or (found is not None and os.path.samefile(found, own)):
        return name
    return quoted(str(own))


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if plain(character) == character:
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
