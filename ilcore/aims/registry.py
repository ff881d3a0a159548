"""The aims there are, by the word that asks for them."""

import difflib
from collections.abc import Mapping, Sequence

from ilcore.aims.aim import Aim
from ilcore.aims.denoise import Denoise
from ilcore.aims.inpaint import Inpaint
from ilcore.aims.ratios import Number, factors_of
from ilcore.aims.superres import Superres
from ilcore.grammar.errors import BadInput

AIMS: Mapping[str, type[Aim]] = {
    Denoise.name: Denoise,
    Inpaint.name: Inpaint,
    Superres.name: Superres,
}


def aim_for(task: str, *, scale: Number | Sequence[Number] | None = None, space: int = 2) -> Aim:
    """Return what is asked.

    Args:
        task: One of AIMS.
        scale: By how much the result shall be finer, for aims that make it so: one number for all axes of space, or
            one for each.
        space: 2 (y, x) or 3 (z, y, x).

    Raises:
        BadInput: There is no such aim, or it wants a scale, or wants none.
    """
    if task not in AIMS:
        near = difflib.get_close_matches(task, AIMS, 1, 0.0)[0]
        raise BadInput(f"task must be one of {', '.join(AIMS)}; got {task!r}; did you mean {near!r}?")
    if AIMS[task] is Superres:
        if scale is None:
            raise BadInput("superres wants a scale, got none; say how much finer the result shall be, such as 2")
        return Superres(factors_of(scale, space))
    if scale is not None:
        raise BadInput(f"a scale serves superres, got task {task}; leave it out, or ask for superres")
    return AIMS[task]()
