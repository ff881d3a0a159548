"""What can be told of a run before anything heavy is imported: where it lives, and whether it was begun."""

from ilcore.grammar.commands import command
from ilcore.grammar.errors import BadPlan
from ilcore.results.destination import place_of_result
from ilcore.stores.places import Place

PLAN, PLAN_COPY = "plan.yaml", "plan.copy.yaml"


def root_of(target: Place) -> Place:
    """Return the folder beside a target where its run lives."""
    return target.with_name(target.name + ".il")


def check_begun(target: str | Place) -> None:
    """Refuse a target for which no run was begun.

    Raises:
        BadPlan: When there was none.
    """
    place = place_of_result(target)
    if not any((root_of(place) / name).is_file() for name in (PLAN, PLAN_COPY)):
        raise BadPlan(
            f"a run must have been started for {place}, got no {PLAN} in {root_of(place)}; begin it with "
            "`il restore SOURCE TARGET`, with --overwrite where a result is there"
        )


def text_of_plan(path: Place) -> str:
    """Return what a plan file says.

    Raises:
        BadPlan: When it is missing or no text.
    """
    if not path.is_file():
        write = command("il plan SOURCE TARGET --save", path)
        raise BadPlan(f"a plan must be a YAML file, got {path}; write one with `{write}`")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPlan(
            f"a plan must be a readable text file, got {path}: {error}; `il plan` writes a good one"
        ) from error
