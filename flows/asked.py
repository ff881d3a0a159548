"""What can be refused in a moment, without torch, SciPy or Prefect: places that are not there or of no use."""

import os
from collections.abc import Iterable, Mapping

from ilcore.grammar.errors import BadInput


def check_source(source: str) -> None:
    """Refuse a volume that is not there.

    Raises:
        BadVolume: In one sentence.
    """
    if os.path.exists(source):
        return
    from ilcore.stores.addresses import check_there, normalised

    check_there(normalised(source))


def check_places(source: str, target: str) -> None:
    """Refuse a volume that is not there, and a result that cannot lie where it shall.

    Raises:
        BadInput: In one sentence.
        DestinationError: When nothing can be written there.
    """
    check_source(source)
    above = os.path.dirname(os.path.abspath(target))
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    # What looks well is asked once more later, of stores too: their clients take longer than all the rest.
    if "://" in target or (os.access(above, os.W_OK) and not os.path.exists(target) and _is_apart(source, target)):
        return
    from ilcore.results.destination import check_destination
    from ilcore.stores.addresses import is_remote

    if not is_remote(target):
        check_destination(target, source, overwrite=True)


def _is_apart(source: str, target: str) -> bool:
    own, other = (os.path.join(os.path.realpath(place), "") for place in (source, target))
    return not own.startswith(other) and not other.startswith(own)


def check_run(target: str) -> None:
    """Refuse a target for which no run was begun.

    Raises:
        BadPlan: When there was none.
    """
    from ilcore.planning.begun import check_begun
    from ilcore.stores.addresses import is_remote

    # A store is asked later: its client takes longer than all the rest.
    if not is_remote(target):
        check_begun(target)


def check_plan(path: str) -> None:
    """Refuse a plan file that is not there.

    Raises:
        BadPlan: In one sentence.
    """
    from pathlib import Path

    from ilcore.planning.begun import text_of_plan

    text_of_plan(Path(path))


def check_archive(path: str) -> None:
    """Refuse an archive file that is not there.

    Raises:
        BadInput: In one sentence.
    """
    from ilcore.archives.file import text_of_archive

    text_of_archive(path)


def check_cluster(scheduler: str | None) -> None:
    """Refuse a cluster file that is not there.

    Raises:
        BadInput: In one sentence.
    """
    if scheduler is not None and scheduler.endswith((".yaml", ".yml")) and not os.path.isfile(scheduler):
        raise BadInput(f"a cluster file must be readable YAML, got {scheduler}: no such file; see deploy/README.md")


def check_weights(weights: str | None) -> None:
    """Refuse a weight file that is not there.

    Raises:
        BadWeights: In one sentence.
    """
    if weights is not None and not weights.startswith("models:/"):
        from ilcore.adapting.weight_file import check_weight_file

        check_weight_file(weights)


def check_folders(**folders: str | None) -> None:
    """Refuse folders that are to be read and are not there.

    Args:
        folders: Option -> folder.

    Raises:
        BadInput: Naming the option.
    """
    for name, folder in folders.items():
        if folder is not None and not os.path.isdir(folder):
            raise BadInput(f"--{name} wants a folder, got {folder}: there is none; check the path")


def check_switch(switch: str, *, is_given: bool, own: Mapping[str, object], others: Mapping[str, object]) -> None:
    """Refuse options that need a switch where it is not given, and those that make no sense where it is.

    Args:
        switch: As it is written.
        is_given: Whether it is.
        own: Option -> value, of those that need it.
        others: The same of those that have nothing to do with it.

    Raises:
        BadInput: Naming all of them.
    """
    told = (others if is_given else own).items()
    odd = ", ".join(f"--{name}" for name, value in told if value is not None and value is not False and value != [])
    if odd and is_given:
        raise BadInput(f"{switch} stands without options of other measurements, got {odd}; leave these out")
    if odd:
        raise BadInput(f"{odd} must stand with {switch}, got no {switch}; add it, or leave these out")


def check_written(*files: str | None) -> None:
    """Refuse files to be written in folders that are not there: that is to be known before the work, not after.

    Raises:
        BadInput: Naming the folder.
    """
    for file in files:
        folder = os.path.dirname(file or "") or "."
        if file is not None and (os.path.isdir(file) or not os.path.isdir(folder)):
            raise BadInput(f"a file in a folder that is there was wanted, got {file}; make the folder, or correct it")


def check_sources(sources: Iterable[str]) -> None:
    """Refuse volumes or folders of them that are not there.

    Raises:
        BadVolume: In one sentence.
    """
    for source in sources:
        check_source(source)
