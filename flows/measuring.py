"""The command that measures methods: their results, or with --speed what they take."""

from typing import Annotated, Literal

import typer

from flows import asked
from flows import options as say
from flows.answers import KEPT, answering, this_command

PAGE = "docs/benchmarks.md"
SPEED = "With --speed"

Images = Annotated[
    str | None, typer.Option(help="a folder of your own: clean images, or folders noisy/ and clean/ with pairs")
]
Methods = Annotated[
    list[str] | None,
    typer.Option("--method", "-m", help="NAME[@SCOPE][:KNOB=VALUE,...], `noisy` or `choose`; repeatable. All"),
]
External = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=COMMAND", help='other programs: theirs="cmd {noisy} {restored} {noise_std}"'),
]
Speed = Annotated[
    bool, typer.Option("--speed", help="measure what a step takes instead, on a device", rich_help_panel=SPEED)
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1; a GPU where there is one", rich_help_panel=SPEED, show_default=False),
]
Tiles = Annotated[
    str | None,
    typer.Option(help="restored together: 1,8,64,256 if left out", rich_help_panel=SPEED, show_default=False),
]
Side = Annotated[int | None, typer.Option(help="of a tile: 128 if left out", rich_help_panel=SPEED, show_default=False)]
Seconds = Annotated[float | None, typer.Option(help="after so many nothing more is begun", rich_help_panel=SPEED)]


def bench(
    data: Annotated[str | None, typer.Option(help="root of the named sets; generated scenes if left out")] = None,
    images: Images = None,
    noise: Annotated[float | None, typer.Option(min=0, help="white noise to add to --images, of 255")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="a named set; repeatable. All there are")] = None,
    methods: Methods = None,
    external: External = None,
    scope: Annotated[Literal["tile", "volume", "both"], typer.Option(help="where no --method is named")] = "tile",
    quick: Annotated[bool, typer.Option("--quick", help="few small scenes, few steps: shows that all runs")] = False,
    steps: Annotated[int | None, typer.Option(min=0, help="updates of methods that make some, or those timed")] = None,
    crop: Annotated[int | None, typer.Option(min=16, help="side of a cut from the middle of each image")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="images of each set at most")] = None,
    image: Annotated[list[str] | None, typer.Option(help="a named image of the sets; repeatable. All")] = None,
    estimate_noise: Annotated[bool, typer.Option("--estimate-noise", help="tell methods no noise level")] = False,
    out_file: Annotated[str, typer.Option("--out", help="Markdown page; only its marked part is written")] = PAGE,
    scores: Annotated[str | None, typer.Option(help="JSON lines, one for each image; beside --out if left out")] = None,
    seed: say.Seed = 0,
    tracking_uri: say.Tracking = None,
    speed: Speed = False,
    device: Device = None,
    tiles: Tiles = None,
    side: Side = None,
    seconds: Seconds = None,
) -> None:
    """Measure methods on fixed images with fixed noise, and write the table. The same command again goes on.

    With --speed: what a step of each takes on a device, beside what the device does at its best.

    \b
    il bench --quick --out /tmp/table.md
    il bench --data DATA --set set12 --set fmd --method noisy --method bm3d --method zs_n2n@volume
    il bench --images my/photos --noise 25 --external theirs="python denoise.py {noisy} {restored} {noise_std}"
    il bench --speed --device cuda --tiles 1,8,64,256
    """
    of_images = {
        "data": data, "images": images, "noise": noise, "set": sets, "external": external, "quick": quick, "crop": crop,
        "limit": limit, "image": image, "estimate-noise": estimate_noise, "scores": scores,
        "scope": None if scope == "tile" else scope, "tracking-uri": tracking_uri,
    }  # fmt: skip
    of_speed = {"device": device, "tiles": tiles, "side": side, "seconds": seconds}
    # A measurement of speed begins anew.
    with answering("what was measured is on the page" if speed else KEPT, again=None if speed else this_command):
        asked.check_switch("--speed", is_given=speed, own=of_speed, others=of_images)
        asked.check_folders(data=data, images=images)
        from flows.running import run_bench, run_speed

        if speed:
            run_speed(None if out_file == PAGE else out_file, **of_speed, methods=methods, steps=steps, seed=seed)
            return
        from tasks.benchmark import BenchmarkConfig

        event = BenchmarkConfig(
            data=data, images=images, noise=noise, sets=tuple(sets or ()), methods=tuple(methods or ()),
            programs=tuple(external or ()), scope=scope, is_quick=quick, steps=steps, crop=crop, limit=limit,
            only=tuple(image or ()), seed=seed, is_told=not estimate_noise, out=out_file, scores=scores,
        )  # fmt: skip
        run_bench(event, tracking_uri)


#: In the order of the help.
COMMANDS = (bench,)
