"""Twelve plans carried out by another checkout and by this one: the same plans, the same results, byte for byte.

python -m tests.bench.same_bytes OTHER_CHECKOUT      its own .venv is used where it has one

Prints a table; ends with 1 where anything differs. Kinds of volumes: planes, stacks, movies, holes, uint8 to float64; a
method for each tile, one for the whole volume, one that learns nothing, one that fills holes, one that copies.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.scenes import noisy, scene

ROOT = Path(__file__).resolve().parents[2]
FEW = {"stop.steps": 8}
#: Name -> shape, type, axes, and what is asked.
PLANS: dict[str, tuple[tuple[int, ...], str, str, dict[str, Any]]] = {
    "plane": ((96, 128), "f4", "yx", {"method": "nlm", "tile": (1, 48, 48)}),
    "plane, chosen": ((256, 256), "f4", "yx", {}),
    "plane of bytes": ((96, 128), "u1", "yx", {"method": "tv", "tile": (1, 48, 48)}),
    "plane, learnt by tile": ((96, 128), "u2", "yx", {"method": "zs_n2n", "overrides": FEW, "tile": (1, 48, 48)}),
    "plane, learnt once": (
        (96, 128), "i4", "yx", {"method": "n2v", "scope": "volume", "overrides": FEW, "tile": (1, 48, 48)}
    ),
    "plane of doubles": ((96, 128), "f8", "yx", {"method": "nl_ridge", "tile": (1, 48, 48)}),
    "stack": ((6, 64, 64), "u2", "zyx", {"method": "adapted", "overrides": {"stop.steps": 0}, "tile": (3, 32, 32)}),
    "stack, fine-tuned": ((6, 64, 64), "f4", "zyx", {"method": "adapted", "overrides": FEW, "tile": (3, 32, 32)}),
    "movie": ((6, 64, 64), "u2", "tyx", {"method": "frame_pairs", "overrides": FEW, "depth": "t"}),
    "channels": ((2, 64, 64), "u2", "cyx", {"method": "wavelet", "tile": (1, 32, 32)}),
    "holes": ((96, 128), "f4", "yx", {"task": "inpaint", "method": "dip", "overrides": FEW}),
    "copied": ((96, 128), "u2", "yx", {"task": "copy"}),
}  # fmt: skip
#: Carries every plan out that lies in a folder, by whichever tree it is run in.
WORK = """
import hashlib, json, sys
from pathlib import Path
from ilcore import plan_restoration
try:
    from ilcore.running.carry_out import carry_out
except ModuleNotFoundError:
    from ilcore.restoring.alone import carry_out
try:
    from ilcore.planning.options import RestoreOptions
    # Earlier versions know no layers.
    image_alone = {"layers": ("none",)} if "layers" in RestoreOptions.model_fields else {}
except ModuleNotFoundError:
    image_alone = {}

folder, out = map(Path, sys.argv[1:])
for name, asked in json.loads((folder / "asked.json").read_text()).items():
    asked = {key: tuple(value) if key == "tile" else value for key, value in asked.items()}
    plan = plan_restoration(str(folder / f"{name}.npy"), str(out / f"{name}.ome.zarr"), **asked, **image_alone)
    verdict = carry_out(plan).verdict
    # What the gate refused is compared as it was assembled.
    made = "{}.ome.zarr" if verdict != "fail" else "{}.ome.zarr.il/staging.ome.zarr"
    files = sorted(path for path in (out / made.format(name)).rglob("*") if path.is_file())
    whole = hashlib.sha256()
    for path in files:
        whole.update(str(path.relative_to(out)).encode() + path.read_bytes())
    print(json.dumps([name, plan.fingerprint, verdict, len(files), whole.hexdigest()]), flush=True)
"""


def made(name: str) -> np.ndarray:
    """Return the scan of a plan."""
    shape, kind, _, asked = PLANS[name]
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    space = shape if len(shape) == 2 or "z" in PLANS[name][2] else shape[1:]
    clean = scene("cells", space, seed % 100)
    values = noisy(np.broadcast_to(clean, shape), std=0.05, seed=seed % 1000)
    if asked.get("task") == "inpaint":
        values[20:30, 40:60] = np.nan
    top = np.iinfo(kind).max if np.dtype(kind).kind in "iu" else 1
    return (np.clip(values, 0, 1) * min(top, 60000)).astype(kind) if top > 1 else values.astype(kind)


def results(tree: Path, folder: Path, out: Path) -> dict[str, list[Any]]:
    """Return what a tree makes of all plans."""
    python = tree / ".venv/bin/python"
    done = subprocess.run(
        [str(python if python.exists() else sys.executable), "-c", WORK, str(folder), str(out)],
        cwd=tree, env={"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return {name: told for name, *told in map(json.loads, done.stdout.splitlines())}


def main(other: str) -> int:
    """Compare, and return how many plans differ."""
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in PLANS:
            np.save(folder / f"{name}.npy", made(name))
        asked = {name: {"axes": axes, **told} for name, (_, _, axes, told) in PLANS.items()}
        (folder / "asked.json").write_text(json.dumps(asked))
        then, now = (results(tree, folder, folder / tree.name) for tree in (Path(other).resolve(), ROOT))
    print("| plan | fingerprint | verdict | files | result |\n|---|---|---|---|---|")
    for name, (plan, verdict, files, digest) in now.items():
        is_same = then[name] == [plan, verdict, files, digest]
        wrong += not is_same
        print(f"| {name} | {plan[:8]} | {verdict} | {files} | {'the same' if is_same else f'differs: {then[name]}'} |")
    return wrong


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1])))
