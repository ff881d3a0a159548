"""The `il` command: every verb, its options and its help; the work is imported only when a verb runs."""

from typing import Annotated

import typer

from flows import archive, asked, console, looking, measuring, serving, watching
from flows import options as say
from flows.answers import BAD_INPUT, KEPT, answering, err, going_on, out, this_command
from flows.headway import planning
from ilcore.planning.options import RestoreOptions

app = typer.Typer(
    name="il",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    callback=console.start,
    help="""Restore noisy volumes by learning from the scan itself, and be able to explain every voxel.

    \b
    A first look:
      il demo                              a real volume, start to end, in a few minutes
      il info scan.tif                     axes, voxel size, noise
      il plan scan.tif clean.ome.zarr      what would be done, and why
      il restore scan.tif clean.ome.zarr   do it
      il report clean.ome.zarr             where the pictures are
      il verify clean.ome.zarr             is it still what was written?

    Interrupted? [bold]il resume clean.ome.zarr[/] goes on where it was, to the same bytes.

    Exit codes: 0 published, 1 error, 2 bad usage or bad input, 3 finished but the QA gate refused the result.
    """,
)


def main() -> None:
    """Run `il`."""
    from tasks.environment import settings

    settings.hush()
    app()


@app.command()
def info(
    source: say.Source,
    axes: say.Axes = None,
    level: say.Level = 0,
    image: say.Image = None,
    missing: say.Missing = None,
    json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Tell what a volume is: axes, voxel size, chunks, and what its noise looks like. Several images are listed.

    \b
    il info scan.tif --axes zyx
    il info plate.ome.zarr
    il info plate.ome.zarr --image A/1/0
    """
    with answering():
        asked.check_source(source)
        from flows.pages import show_info
        from tasks.describe import describe

        show_info(describe(source, axes=axes, level=level, missing=missing, image=image), as_json=json)


@app.command()
@say.with_options()
def plan(
    source: say.Source,
    target: say.Target,
    options: RestoreOptions,
    device: say.Device = "auto",
    tracking_uri: say.Tracking = None,
    save: Annotated[str | None, typer.Option(help="write the plan to this YAML file, for `il restore --plan`")] = None,
) -> None:
    """Look at the volume, choose a method, and print the whole plan as YAML; nothing is restored.

    Example: `il plan scan.tif clean.ome.zarr --save plan.yaml`, edit it, then `il restore --plan plan.yaml`
    """
    with answering():
        asked.check_places(source, target)
        asked.check_weights(options.weights)
        asked.check_written(save)
        with planning(source, has_method=options.method is not None, has_server=False, to=err):
            from tasks.load import check_device, make_plan

            check_device(device)
            made = make_plan(source, target, options, tracking_uri, device)
        from flows.pages import show_plan

        show_plan(made, save, device)


@app.command()
@say.with_options()
def restore(
    source: Annotated[str | None, typer.Argument(help="the volume; left out with --plan", show_default=False)] = None,
    target: Annotated[str | None, typer.Argument(help="the result, an OME-Zarr folder", show_default=False)] = None,
    plan: Annotated[str | None, typer.Option(help="carry out this plan file, from `il plan --save`")] = None,
    *,
    options: RestoreOptions,
    workers: say.Workers = 0,
    scheduler: say.Scheduler = None,
    device: say.Device = "auto",
    overwrite: say.Overwrite = False,
    tracking_uri: say.Tracking = None,
) -> None:
    """Restore a volume: adapt, optimise every tile, assemble, judge, publish. The same command again goes on.

    \b
    il restore scan.tif clean.ome.zarr
    il restore scan.ome.zarr clean.ome.zarr --method zs_n2n --steps 500 --workers 8
    il restore scan.ome.zarr preview.ome.zarr --level 2
    il restore scan.ome.zarr corner.ome.zarr --roi y=0:512,x=0:512
    il restore movie.tif clean.ome.zarr --method frame_pairs --depth t --per-plane t
    il restore holes.tif filled.ome.zarr --task inpaint --missing 0
    il restore labels.tif labels.ome.zarr --task copy
    il restore --plan plan.yaml --device cuda
    """
    with answering(KEPT, again=going_on(target) if target else this_command):
        asked.check_cluster(scheduler)
        from flows.running import Running, run_plan, run_volume

        running = Running(
            workers=workers, scheduler=scheduler, device=device, overwrite=overwrite, tracking_uri=tracking_uri
        )
        if plan is not None:
            asked.check_plan(plan)
            raise typer.Exit(run_plan(plan, running))
        if source is None or target is None:
            err.print("il restore wants SRC and DST, or --plan FILE; see il restore --help", markup=False)
            raise typer.Exit(BAD_INPUT)
        asked.check_places(source, target)
        asked.check_weights(options.weights)
        with planning(source, has_method=options.method is not None, has_server=True, to=out):
            raise typer.Exit(run_volume(source, target, options, running))


@app.command()
def resume(
    target: say.Target,
    workers: say.Workers = 0,
    scheduler: say.Scheduler = None,
    device: say.Device = "auto",
    tracking_uri: say.Tracking = None,
) -> None:
    """Go on with an interrupted restoration: only unfinished work is done, and the result is the same.

    Example: `il resume clean.ome.zarr`
    """
    with answering(KEPT, again=going_on(target)):
        asked.check_run(target)
        asked.check_cluster(scheduler)
        from flows.running import Running, run_again

        running = Running(workers=workers, scheduler=scheduler, device=device, tracking_uri=tracking_uri)
        raise typer.Exit(run_again(target, running))


@app.command()
def demo(
    folder: Annotated[str, typer.Argument(help="where to put everything")] = "il-demo",
    volume: Annotated[str, typer.Option(help="tomogram or nuclei")] = "tomogram",
    workers: say.Workers = 0,
) -> None:
    """Restore a real noisy volume that an installed package brings along: nothing is downloaded.

    Everything is embedded: Prefect's server, a Dask cluster on this machine, MLflow on SQLite, local Zarr.
    """
    with answering(KEPT, again=going_on(f"{folder}/{volume}.ome.zarr")):
        from flows.demonstration import demonstrate

        raise typer.Exit(demonstrate(folder, volume, workers))


@app.command()
def pretrain(
    out_file: Annotated[str, typer.Argument(metavar="OUT", help="the .safetensors file to write", show_default=False)],
    corpus: Annotated[
        list[str] | None,
        typer.Option("--corpus", "-c", help="a volume to learn from; repeatable. Generated scenes if left out"),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="updates of the network")] = 7000,
    scenes: Annotated[int, typer.Option(min=1, help="crops or scenes in the corpus")] = 600,
    seed: say.Seed = 0,
    alias: Annotated[str, typer.Option(help="restorations look for `champion`")] = "champion",
    device: Annotated[str, typer.Option(help="what to train on: auto, cpu, cuda or cuda:NUMBER")] = "auto",
    tracking_uri: say.Tracking = None,
) -> None:
    """Train a blind denoiser of your own, measure it, and register it in the model registry.

    Restorations that use the same tracking URI then start from it. Interrupted? The same command goes on.

    Example: `il pretrain mine.safetensors --corpus archive/a.ome.zarr --corpus archive/b.tif --steps 3000`
    """
    with answering(KEPT, again=this_command):
        asked.check_sources(corpus or [])
        from flows.running import run_pretrain

        run_pretrain(
            out=out_file, archives=corpus or [], steps=steps, scenes=scenes, seed=seed, alias=alias,
            tracking=tracking_uri, device=device,
        )  # fmt: skip


for command in (
    *looking.COMMANDS, archive.nightly, *watching.COMMANDS, archive.audit, serving.up, serving.down, serving.schedule,
    *console.COMMANDS, *measuring.COMMANDS,
):  # fmt: skip
    app.command()(command)


if __name__ == "__main__":
    main()
