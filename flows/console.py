"""What the command tells of itself and of the machine it runs on: version, completion, doctor."""

from typing import Annotated, Literal

import typer

from flows.answers import ERROR, answering, out


def _show_version(wanted: bool) -> None:
    if wanted:
        import platform

        from ilcore import __version__

        out.print(f"il {__version__} (Python {platform.python_version()})", markup=False)
        raise typer.Exit


def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Take what stands before a verb; its help is that of the whole."""


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(show_default=False)],
) -> None:
    r"""Print what lets a shell complete `il`, its verbs and options.

    \b
    eval "$(il completion bash)"                                  # in ~/.bashrc; zsh alike
    il completion fish > ~/.config/fish/completions/il.fish
    """
    with answering():
        from typer.completion import get_completion_script  # type: ignore[attr-defined]

        out.print(get_completion_script(prog_name="il", complete_var="_IL_COMPLETE", shell=shell), markup=False)


def doctor() -> None:
    """Look whether this machine can do the work. Exit code 1: something is wrong; its line says what to do.

    Python, packages, devices, memory, disk, folders, clock, proxies, ports and servers, one line each.
    """
    with answering(is_checked=False):
        from tasks.services.doctor import findings

        is_wrong = False
        for found in findings():
            is_wrong |= found.is_wrong
            out.print(f"{'wrong' if found.is_wrong else 'ok':<6} {found.name:<20} {found.told}", markup=False)
    raise typer.Exit(ERROR if is_wrong else 0)


#: In the order in which `il --help` lists them.
COMMANDS = (doctor, completion)
