"""The platform of one machine as a stranger uses it: up, an archive on schedule, a night, a look, and down again."""

import json
import os
import signal
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ilcore.running.workspace import Workspace
from tasks.services.launch import left_over
from tests.browser import needs_browser, problems, words_of
from tests.e2e.test_nightly import archive_in, scan
from tests.hook import hook
from tests.il import Il
from tests.platforms import Platform, logs
from tests.servers import until

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    platform = Platform(tmp_path_factory.mktemp("il"))
    try:
        code, told, trouble = platform.up()
        assert code == 0, told + trouble + logs(platform)
        yield platform
    finally:
        platform.down()
        for process in left_over(str(platform.state)):
            process.kill()


@pytest.fixture(scope="module")
def posted() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that takes what is posted to it, and what it was."""
    with hook() as told:
        yield told


@pytest.fixture(scope="module")
def restored(platform: Platform, posted: tuple[str, list[dict[str, Any]]]) -> tuple[Path, dict[str, Any]]:
    """An archive on schedule after its first night, with one file that is no scan; and how the night ended."""
    folder = platform.folder / "archive <b>of cells"
    folder.mkdir()
    archive = archive_in(folder)
    told = json.loads(archive.read_text())
    archive.write_text(json.dumps({**told, "night": {"device": "cpu", "time_zone": "Europe/Berlin"}}))
    for number in range(2):
        scan(folder / "scans", f"scan{number}", number)
    (folder / "scans" / "<script>alert(1)<script>.npy").write_text("no scan")
    il = platform.il
    il.environment["IL_NOTIFY_URL"] = posted[0]
    code, out, trouble = il("schedule", archive, "--begin", "21:30", "--folder", platform.state)
    assert code == 0, out + trouble
    return folder, platform.night("week")


def test_all_is_well(platform: Platform) -> None:
    assert all(platform.health().values())
    assert set(platform.health()) == {
        "prefect-server", "mlflow-server", "dask-scheduler", "dask-workers", "prefect-worker", "status-page",
    }  # fmt: skip


def test_twice_up_is_up(platform: Platform) -> None:
    before = {each.pid for each in left_over(str(platform.state))}
    code, told, trouble = platform.up()
    assert code == 0, told + trouble
    assert platform.url("status").rstrip("/") in told
    assert before & {each.pid for each in left_over(str(platform.state))} == before


def test_prefects_pages_ask_the_server_that_they_came_from(platform: Platform) -> None:
    """Whatever its port is, and also at the other end of a tunnel, where the port is another one."""
    signed = {"Authorization": platform.signature}
    with urllib.request.urlopen(urllib.request.Request(platform.url("prefect", "ui-settings"), headers=signed)) as told:
        settings = json.load(told)
    for page in (platform.url("prefect", "dashboard"), "http://127.0.0.1:1/v2/dashboard"):
        asked = urllib.parse.urljoin(page, settings["api_url"])
        assert asked == urllib.parse.urljoin(page, "/api")
    origin = {"Origin": platform.url("prefect").rstrip("/"), **signed}
    asked = urllib.parse.urljoin(platform.url("prefect", "dashboard"), settings["api_url"] + "/admin/version")
    with urllib.request.urlopen(urllib.request.Request(asked, headers=origin)) as answer:
        assert answer.status == 200
    assert set(settings["available_uis"]) == {"v1", "v2"}
    assert (platform.state / "prefect" / "ui" / "v2" / "index.html").is_file(), "its own, not the installation's"


def test_servers_listen_on_loopback_only(platform: Platform) -> None:
    for process in left_over(str(platform.state)):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip in ("127.0.0.1", "::1"), process.cmdline()


def test_the_night_restored_what_is_a_scan(
    restored: tuple[Path, dict[str, Any]], platform: Platform, posted: tuple[str, list[dict[str, Any]]]
) -> None:
    folder, state = restored
    assert state["type"] == "FAILED", state
    assert "1 quarantined" in state["message"], logs(platform)
    assert "2 done" in state["message"]
    for number in range(2):
        Workspace.of(folder / "out" / f"scan{number}.ome.zarr").plan_of_run()
        assert (folder / "out" / f"scan{number}.ome.zarr" / "zarr.json").is_file()
    [told] = until(lambda: posted[1], 60, "somebody is told")
    assert "1 quarantined" in told["text"]
    assert platform.url("prefect").rstrip("/") in told["text"]


def test_the_schedule_is_the_archives_own(restored: tuple[Path, dict[str, Any]], platform: Platform) -> None:
    deployment = platform.ask("deployments/name/nightly/week")
    [schedule] = deployment["schedules"]
    assert schedule["schedule"] == {"cron": "30 21 * * *", "timezone": "Europe/Berlin", "day_or": True}
    # A slot that a dead worker keeps would end all nights: the archive's own lock keeps two apart.
    assert deployment["global_concurrency_limit"] is None


def test_mlflow_knows_the_night_and_its_scans(
    restored: tuple[Path, dict[str, Any]], platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.tracking.client import NIGHT, Tracker

    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, platform.exported[name])
    tracker = Tracker(platform.url("mlflow").rstrip("/"))
    found = tracker.client.search_experiments()
    ids = {each.name: each.experiment_id for each in found}
    [night] = tracker.client.search_runs([ids["ilcore-nights"]])
    assert night.data.metrics["done"] == 2
    assert night.data.metrics["quarantined"] == 1
    scans = tracker.client.search_runs([ids["ilcore"]], f"tags.`{NIGHT}` = '{night.data.tags[NIGHT]}'")
    assert len(scans) == 2
    assert {run.data.tags["il.degraded"] for run in scans} == {"no"}
    asked = tracker.views()
    assert len(asked) == 8
    assert all(address.startswith(platform.url("mlflow") + "#/experiments/") for address in asked.values())


@needs_browser
def test_the_pages_in_a_browser(restored: tuple[Path, dict[str, Any]], platform: Platform) -> None:
    status = words_of(platform.url("status"))
    assert "prefect-server" in status
    assert "2 done" in status
    assert "1 quarantined" in status
    assert problems(platform.url("status"), platform.folder) == []
    morning = platform.url("status", "mornings/week/last-night.html")
    assert "alert(1)" in words_of(morning)
    assert problems(morning, platform.folder) == []


def test_pages_show_what_they_are_for_and_nothing_else(
    restored: tuple[Path, dict[str, Any]], platform: Platform
) -> None:
    def code_of(path: str, **headers: str) -> int:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(platform.url("status", path), headers=headers)
            ) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return int(error.code)

    with urllib.request.urlopen(platform.url("status", "mornings/week/last-night.html")) as answer:
        page = answer.read().decode()
    assert "<script" not in page
    assert f'href="{platform.url("prefect", "runs/flow-run/")}' in page
    assert "file://" not in page
    [first, *_] = [word.split('"')[0] for word in page.split('href="/reports/')[1:]]
    assert code_of(f"reports/{first}") == 200
    assert code_of("reports/etc/passwd") == 404
    assert code_of("mornings/week/..%2F..%2Farchive.yaml") == 404
    assert code_of("mornings/other/last-night.html") == 404
    assert code_of("", Host="evil.example") == 403


def test_a_server_that_dies_comes_back_with_what_it_knew(
    restored: tuple[Path, dict[str, Any]], platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first, *_] = [each for each in left_over(str(platform.state), "mlflow-server") if "mlflow" in each.cmdline()]
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not platform.health()["mlflow-server"], 30, "it is seen to be gone")
    until(lambda: all(platform.health().values()), 200, "it is back")
    test_mlflow_knows_the_night_and_its_scans(restored, platform, monkeypatch)


def test_a_port_that_is_taken_is_told(platform: Platform, tmp_path: Path) -> None:
    words = [word for name, port in platform.ports.items() for word in ("--port", f"{name}={port}")]
    code, _, trouble = Il(platform.bare)("up", "--folder", tmp_path / "other", *words)
    assert code == 2
    assert f"prefect={platform.ports['prefect']}" in trouble
    assert "or add: --port status=" in trouble
    assert not list(left_over(str(tmp_path / "other")))


def test_down_leaves_nothing_but_the_folder(platform: Platform) -> None:
    # Whoever stops it may have another folder for temporary files than whoever started it.
    elsewhere = platform.folder / "tmp"
    elsewhere.mkdir()
    platform.bare["TMPDIR"] = str(elsewhere)
    code, told, trouble = platform.down()
    assert code == 0, trouble
    assert told.strip() == "stopped"
    assert [process.cmdline() for process in left_over(str(platform.state))] == []
    code, told, _ = platform.down()
    assert (code, told.strip()) == (0, "nothing was running")
    assert (platform.state / "mlflow" / "mlflow.db").is_file()
    assert (platform.state / "environment").stat().st_mode & 0o077 == 0
