"""Which layers a result has beside its image: those that were asked for, and provenance where voxels are made up."""

from collections.abc import Sequence

from ilcore.aims.aim import Aim
from ilcore.aims.words import Task
from ilcore.grammar.errors import BadInput
from ilcore.grammar.layers import LAYERS, LayerName
from ilcore.grammar.recipe import Method, Recipe, Sequential
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import Entry
from ilcore.planning.options import LayerWish
from ilcore.volumes.volume import Volume


def layers_wanted(asked: Sequence[LayerWish], aim: Aim, volume: Volume) -> tuple[LayerName, ...]:
    """Return the layers of a result, in the order in which they are kept.

    Args:
        asked: What the user wants; none alone wants the image alone.
        aim: What is asked of the scan.
        volume: The scan.

    Raises:
        BadInput: When none is asked for and something else too.
    """
    wished = [name for name in asked if name != "none"]
    if wished and len(wished) < len(asked):
        raise BadInput(f"layer none leaves all of them out, got {', '.join(asked)}; leave it out, or the others")
    if (not asked and aim.invents(has_gaps=may_have_gaps(volume))) or (wished and aim.invents(has_gaps=True)):
        wished.append("provenance")
    return tuple(layer.name for layer in LAYERS.values() if layer.name in wished)


def may_have_gaps(volume: Volume) -> bool:
    """Tell whether a volume can hold voxels that are no data: nobody reads all of it to find out."""
    says_so = volume.missing is not None or volume.valid_range != (None, None)
    return volume.mask is not None or says_so or volume.dtype.kind == "f"


def layer_complaints(layers: Sequence[LayerName], task: Task, entry: Entry, steps: int) -> list[str]:
    """Return what is wrong with the layers of a plan.

    Args:
        layers: Their names.
        task: Of the plan.
        entry: The method as it is configured.
        steps: That it makes on a tile.

    Raises:
        BadInput: As `check_spread`.
    """
    if list(layers) != [name for name in LAYERS if name in layers]:
        return [f"layers must be some of {', '.join(LAYERS)}, each once in that order, got {', '.join(layers)}"]
    if layers and task == "copy":
        return [f"layers must be left out of what is copied unchanged, got {', '.join(layers)}"]
    if "spread" in layers:
        check_spread(entry, steps)
    return []


def check_spread(entry: Entry, steps: int) -> None:
    """Refuse a method that averages no images of a tile, or makes too few steps to.

    Args:
        entry: The method as it is configured.
        steps: That it makes on a tile.

    Raises:
        BadInput: Naming those that do.
    """
    after = spreads_after(entry.method)
    if after is None:
        able = ", ".join(sorted(name for name, one in METHODS.items() if spreads_after(one.method) is not None))
        raise BadInput(
            f"a spread wants a method that averages images of a tile, got {entry.name} as it is configured; methods "
            f"that do, unless stabilised: {able}; or leave layer spread out"
        )
    if steps < after:
        raise BadInput(
            f"a spread wants two images to average, which {entry.name} has after {after} steps on a tile, got {steps}; "
            "let it make more, or average sooner (readout.burn_in, readout.every)"
        )


def spreads_after(method: Method) -> int | None:
    """Return the steps after which a method can tell how far its images lie apart; None where it never can."""
    match method:
        case Recipe():
            return method.readout.spreads_after
        case Sequential(methods):
            # The last one makes the image.
            last = spreads_after(methods[-1])
            return None if last is None else method.budget - methods[-1].budget + last
        case _:
            return None
