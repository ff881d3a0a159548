"""A store that answers badly: what passes is waited for, what does not ends in one error and can be resumed."""

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import ILError
from ilcore.stores import places as stores
from tests.faulty_proxy import BREAK, INTERNAL, SLOW_DOWN, faulty_proxy
from tests.integration.s3_through_faults import LASTING, PASSING, REFUSED_SECONDS
from tests.scenes import noisy, scene
from tests.standins import add_standins, planned

HERE = Path(__file__).resolve()
WHOLE = ((0, 1), (0, 1), (0, 1), (0, 192), (0, 64))


@pytest.fixture(scope="module")
def picture():
    return (noisy(scene("cells", (192, 64), 0), std=0.05, seed=0) * 4000).clip(0, 65535).astype("u2")


@pytest.fixture(scope="module")
def cases(picture, s3_server, tmp_path_factory):
    """What happened in each case, by its name."""
    folder = tmp_path_factory.mktemp("faulty")
    zarr.create_array(f"{folder}/scan.zarr", data=picture, chunks=(64, 64), dimension_names=("y", "x"))
    prefix = f"s3://{s3_server.bucket}/{folder.name}"
    s3_server.files.put(f"{folder}/scan.zarr", f"{prefix}/scan.zarr", recursive=True)
    with pytest.MonkeyPatch.context() as patched:
        add_standins(patched)
        plan = planned(folder / "scan.zarr", folder / "out.ome.zarr", "box", tile=(1, 64, 64))
    there = plan.source.model_copy(update={"uri": f"{prefix}/scan.zarr"})
    (folder / "plan.yaml").write_text(plan.model_copy(update={"source": there}).to_yaml())
    done = subprocess.run(
        [sys.executable, str(HERE.with_name("s3_through_faults.py")), folder / "plan.yaml", s3_server.endpoint, prefix],
        capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, **s3_server.environment, "PYTHONPATH": str(HERE.parents[2]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return {case["target"].rpartition("/")[2].removesuffix(".ome.zarr").replace("-", " "): case for case in told}


def voxels_of(target, server):
    """Return what a result holds; its metadata name the target, which is another in each case."""
    found = server.objects(target)
    assert "zarr.json" in found
    return {name: content for name, content in found.items() if not name.endswith("zarr.json")}


def wanted(cases, server):
    return voxels_of(cases["whole"]["target"], server)


@pytest.mark.slow
@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_not_noticed(name, cases, s3_server):
    assert cases[name]["faults"] >= 3
    assert voxels_of(cases[name]["target"], s3_server) == wanted(cases, s3_server)


@pytest.mark.slow
def test_connections_refused_for_a_while_are_waited_for(cases, s3_server):
    assert cases["refused"]["faults"] == 1
    assert cases["refused"]["seconds"] > REFUSED_SECONDS
    assert voxels_of(cases["refused"]["target"], s3_server) == wanted(cases, s3_server)


@pytest.mark.slow
@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_one_error_and_can_be_resumed(name, cases, s3_server):
    case = cases[name]
    assert "store" in case["error"]
    assert "again" in case["error"]
    assert case["seconds_until_told"] < 60
    assert voxels_of(case["target"], s3_server) == wanted(cases, s3_server)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def web(picture, tmp_path):
    """A folder read over plain HTTP."""
    zarr.create_array(f"{tmp_path}/scan.zarr", data=picture, chunks=(64, 64), dimension_names=("y", "x"))
    handler = functools.partial(Quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    with faulty_proxy(f"http://127.0.0.1:{server.server_port}") as between:
        yield between
    server.shutdown()
    server.server_close()


def test_a_source_on_the_web_is_asked_again(web, picture):
    web.sometimes(0.15, SLOW_DOWN, INTERNAL, BREAK, seed=1)
    volume = open_volume(f"{web.endpoint}/scan.zarr")
    web.sometimes(0.25, SLOW_DOWN, INTERNAL, BREAK, seed=2)
    found = volume.read(WHOLE)
    assert web.faults >= 2
    np.testing.assert_array_equal(found[0, 0, 0], picture)


def test_a_source_on_the_web_that_stays_away_is_one_error(web, monkeypatch):
    monkeypatch.setattr(stores, "WAITS_SECONDS", (0.1, 0.1))
    volume = open_volume(f"{web.endpoint}/scan.zarr")
    web.fault = lambda method, path: SLOW_DOWN
    with pytest.raises(ILError, match=r"scan\.zarr"):
        volume.read(WHOLE)
