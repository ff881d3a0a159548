"""Several processes write one sharded array at once, each its own units: no voxel is lost."""

import subprocess
import sys

import numpy as np

from ilcore.formats.open import open_volume
from ilcore.grammar.region import blocks, slices, whole
from ilcore.results.layout import Layout
from ilcore.results.write import create_array

SHAPE = (1, 1, 1, 500, 500)
WRITER = """
import sys
import numpy as np
from ilcore.results.write import open_target
from ilcore.grammar.region import blocks, slices

path, mine, writers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
target = open_target(path)
image = np.random.default_rng(0).integers(1, 60000, target.shape).astype(target.dtype)
for number, region in enumerate(blocks(target.shape, target.unit)):
    if number % writers == mine:
        target.write(region, np.ascontiguousarray(image[slices(region)]))
"""


def test_no_voxel_is_lost(tmp_path):
    path = str(tmp_path / "a")
    layout = Layout((1, 1, 1, 16, 16), (1, 1, 1, 64, 64))
    create_array(path, shape=SHAPE, dtype="uint16", axes="yx", layout=layout)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(mine), "3"]) for mine in range(3)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    image = np.random.default_rng(0).integers(1, 60000, SHAPE).astype("uint16")
    found = open_volume(path).read(whole(SHAPE))
    lost = [region for region in blocks(SHAPE, layout.unit) if (found[slices(region)] != image[slices(region)]).any()]
    assert lost == []
