"""Commands that look at results and methods, and change neither."""

from typing import Annotated

import typer

from flows import asked
from flows import options as say
from flows.answers import REFUSED, answering, out


def status(
    target: Annotated[str, typer.Argument(help="a result, or an archive's YAML file", show_default=False)],
    tell: Annotated[
        bool, typer.Option("--tell", help="of an archive: also send what is wrong to the addresses in IL_NOTIFY_URL")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="of a result: for programs")] = False,
) -> None:
    """Tell how far a restoration is and how it ended; or how an archive stands: last night, next one, what was missed.

    No server is asked. Exit code 3: somebody should look at the archive. In a crontab, with --tell, it reports nights
    that never began.

    \b
    il status clean.ome.zarr
    il status cryo.yaml
    IL_NOTIFY_URL=mailto://... il status cryo.yaml --tell
    """
    with answering():
        if target.endswith((".yaml", ".yml")):
            asked.check_archive(target)
            from flows.watching import show_standing

            show_standing(target, tell=tell)
            return
        asked.check_run(target)
        from flows.pages import show_status
        from tasks.judge import standing

        show_status(standing(target), as_json=json)


def qa(target: say.Target, json: Annotated[bool, typer.Option("--json", help="for programs")] = False) -> None:
    """Show what was found when the result was judged: every check with its number and limit.

    Ends with 3 when the gate refused the result. Example: `il qa clean.ome.zarr`
    """
    with answering():
        asked.check_run(target)
        from flows.pages import show_verdict
        from tasks.judge import judgement

        found = judgement(target)
        show_verdict(found, as_json=json)
    raise typer.Exit(REFUSED if found["verdict"] == "fail" else 0)


def verify(
    target: say.Target,
    workers: say.Workers = 0,
    scheduler: say.Scheduler = None,
    json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Read a result back and compare every write unit with what was written: digests, levels, metadata.

    Ends with 1 when something is damaged; `il resume` then makes those pieces again, and only those.
    Example: `il verify clean.ome.zarr`
    """
    with answering("the result is untouched"):
        asked.check_run(target)
        asked.check_cluster(scheduler)
        from flows.pages import show_damage
        from tasks.executors.cluster import Resources
        from tasks.verify import check

        found = check(target, Resources(workers=workers, scheduler=scheduler, device="cpu"))
        show_damage(found, as_json=json)
    raise typer.Exit(1 if found["damage"] else 0)


def report(
    target: say.Target,
    copy: Annotated[str | None, typer.Option("--copy", help="write the page to this file too")] = None,
) -> None:
    """Tell where the report is: one HTML page with pictures, without any outside resource.

    Example: `il report clean.ome.zarr --copy report.html`
    """
    with answering():
        asked.check_run(target)
        asked.check_written(copy)
        from tasks.judge import report_page

        page = report_page(target, copy)
        out.print(str(page), markup=False)


def export(
    source: say.Source,
    file: Annotated[str, typer.Argument(metavar="FILE", help="*.tif or *.ome.tif", show_default=False)],
    level: say.Level = 0,
    roi: say.Roi = None,
    image: say.Image = None,
    cog: Annotated[bool, typer.Option("--cog", help="a GeoTIFF, also without a place on the Earth")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a file that is there")] = False,
) -> None:
    """Write a volume, a level or a region of it as one file: OME-TIFF, or a Cloud Optimized GeoTIFF if it has a CRS.

    \b
    il export clean.ome.zarr clean.ome.tif
    il export clean.ome.zarr plane.tif --roi z=4:5 --cog
    """
    with answering("no half file is left"):
        asked.check_source(source)
        asked.check_written(file)
        from ilcore.results.export import export_volume

        made = export_volume(source, file, level=level, roi=roi, image=image, as_cog=cog, overwrite=overwrite)
        out.print(str(made), markup=False)


def methods(
    name: Annotated[str | None, typer.Argument(help="one method, with its knobs")] = None,
    markdown: Annotated[str | None, typer.Option(metavar="FILE", help="write the cards of all methods there")] = None,
    scores: Annotated[str, typer.Option(help="what `il bench` measured, for the cards")] = "docs/benchmarks.jsonl",
) -> None:
    """List the methods, or show the card of one with every knob that --set can turn.

    Example: `il methods zs_n2n`
    """
    with answering():
        asked.check_written(markdown)
        from flows.pages import methods_page, show_method, show_methods

        if markdown is not None:
            from pathlib import Path

            Path(markdown).write_text(methods_page(scores))
            return
        show_method(name, scores) if name else show_methods()


#: In the order of the help.
COMMANDS = (status, qa, verify, report, export, methods)
