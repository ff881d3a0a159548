"""How fast voxels are copied from one OME-Zarr to another, beside dask and tensorstore: one process, warm disk cache.

    python -m tests.bench.copying [FOLDER] [--planes 32] [--side 2048] [--repeat 3]

Ours is what a run does around the network: read a write unit, write it, read it back and compare. The others write
without looking. Every copy is compared with the source afterwards. Ratios are within one run, each the best of several.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import dask.array
import numpy as np
import zarr

from ilcore.formats.open import open_volume
from ilcore.grammar.region import five, region_of
from ilcore.results.write import create_array


def make_source(path: Path, planes: int, side: int) -> None:
    """A stack of 16-bit counts with shot noise, as a camera gives."""
    rng = np.random.default_rng(0)
    target = create_array(str(path), shape=five([1, 1, planes, side, side]), dtype="u2", axes="zyx")
    signal = 400 + 300 * np.sin(np.arange(side) / 50)[:, None] * np.cos(np.arange(side) / 70)
    for number in range(target.count):
        region = target.block(number)
        (_, _, _, (a, b), (c, d)) = region
        shape = tuple(stop - start for start, stop in region)
        target.write(region, rng.poisson(np.broadcast_to(signal[a:b, c:d], shape)).astype("u2"))


def ours(source: Path, copy: Path, threads: int) -> None:
    volume = open_volume(str(source))
    target = create_array(str(copy), shape=volume.shape, dtype=volume.dtype, axes=volume.axes)

    def one(number: int) -> None:
        region = target.block(number)
        target.write(region, volume.read(region))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(target.count)))


def by_dask(source: Path, copy: Path, threads: int) -> None:
    held = zarr.open_array(str(source), mode="r")
    made = zarr.create_array(
        str(copy), shape=held.shape, dtype=held.dtype, chunks=held.chunks, shards=held.shards,
        compressors=held.compressors, dimension_names=held.metadata.dimension_names,
    )  # fmt: skip
    lazy = dask.array.from_array(held, chunks=held.shards or held.chunks)
    with dask.config.set(scheduler="threads", num_workers=threads):
        dask.array.store(lazy, made, lock=False)


def by_tensorstore(source: Path, copy: Path, threads: int) -> None:
    import tensorstore

    context = tensorstore.Context({"data_copy_concurrency": {"limit": threads}})
    held = tensorstore.open(_spec(source), context=context).result()
    # The checksum that we put around each chunk stays in the metadata that are taken over.
    made = tensorstore.open(_spec(copy), schema=held.schema, create=True, context=context).result()
    made.write(held).result()


def _spec(path: Path) -> dict[str, object]:
    return {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}


def plain(source: Path, copy: Path, threads: int) -> None:
    """The files themselves: what the disk can do."""
    shutil.copytree(source, copy)


WAYS: dict[str, Callable[[Path, Path, int], None]] = {
    "ilcore (checked)": ours, "dask.array": by_dask, "tensorstore": by_tensorstore, "copy of the files": plain,
}  # fmt: skip


def is_same(source: Path, copy: Path) -> bool:
    one, other = open_volume(str(source)), open_volume(str(copy))
    step = 8
    spans = [(z, min(z + step, one.shape[2])) for z in range(0, one.shape[2], step)]
    regions = [region_of([(0, 1), (0, 1), span, (0, one.shape[3]), (0, one.shape[4])]) for span in spans]
    return all(np.array_equal(one.read(region), other.read(region)) for region in regions)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", nargs="?", default=None)
    words.add_argument("--planes", type=int, default=32)
    words.add_argument("--side", type=int, default=2048)
    words.add_argument("--repeat", type=int, default=3)
    words.add_argument("--threads", type=int, default=2)
    asked = words.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        source, copy = Path(folder) / "source.zarr", Path(folder) / "copy.zarr"
        make_source(source, asked.planes, asked.side)
        size = open_volume(str(source)).nbytes / 2**20
        best = dict.fromkeys(WAYS, float("inf"))
        for _ in range(asked.repeat):
            for name, way in WAYS.items():
                shutil.rmtree(copy, ignore_errors=True)
                began = time.perf_counter()
                way(source, copy, asked.threads)
                best[name] = min(best[name], time.perf_counter() - began)
                assert is_same(source, copy), name
        print("| copy | MB/s | speed, of ours |\n|---|---|---|")
        for name, seconds in best.items():
            print(f"| {name} | {size / seconds:.0f} | {best['ilcore (checked)'] / seconds:.2f} |")


if __name__ == "__main__":
    main()
