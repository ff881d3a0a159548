"""The command that removes what runs left behind."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.answers import answering, out

if TYPE_CHECKING:
    from ilcore.archives.cleaning import Piece


def clean(
    place: Annotated[
        str, typer.Argument(help="an archive's YAML file, a folder with results, or a result", show_default=False)
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only tell what would be removed, and how much")] = False,
    refused_days: Annotated[
        float | None,
        typer.Option(min=0, help="remove refused results so old; an archive's own `keep` if left out"),
    ] = None,
) -> None:
    """Remove what runs left behind and nobody needs: scratch, half-written files, old refused results.

    Sources, published results and whatever `il resume` can go on with are never touched.

    \b
    il clean cryo.yaml --dry-run
    il clean /restored --refused-days 7
    """
    with answering("what is not told as removed is untouched"):
        from ilcore.archives.cleaning import clean as cleaned
        from ilcore.archives.cleaning import clean_archive, workspaces_in
        from ilcore.archives.policy import KeepPolicy, read_archive

        if place.endswith((".yaml", ".yml")):
            archive = read_archive(place)
            if refused_days is not None:
                archive = archive.model_copy(update={"keep": KeepPolicy(refused_days=refused_days)})
            found = clean_archive(archive, dry_run=dry_run)
        else:
            found = [piece for each in workspaces_in(place) for piece in cleaned(each, refused_days, dry_run=dry_run)]
        _show(found, dry_run=dry_run)


def _show(found: "list[Piece]", *, dry_run: bool) -> None:
    word = "would go" if dry_run else "removed"
    for piece in found:
        told = "kept" if piece.is_needed else word
        out.print(f"{told:<8}  {_size(piece.size):>8}  {piece.place}  ({piece.why})", markup=False)
    gone = sum(piece.size for piece in found if not piece.is_needed)
    out.print(f"{_size(gone)} {'would be' if dry_run else 'were'} freed", markup=False)


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000  # type: ignore[assignment]  # only shown from here on
    return f"{count:.1f} TB"
