"""No web page and no stranger gets anything out of the servers of `il up`, or into them: each port is tried."""

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.services.launch import left_over
from tests.browser import EVIL, browse, needs_browser
from tests.platforms import Platform, logs
from tests.servers import until

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

LISTED = "lab.example.org"
#: How many ports each server listens on with one worker. The store: its own, and master, volumes and filer, each for
#: HTTP and for gRPC. Dask's worker: itself, its nanny, its page. Prefect's worker: a channel to the runs it starts.
KNOWN = {
    "status-page": 1, "prefect-server": 1, "mlflow-server": 1, "dask-scheduler": 2, "dask-workers": 3, "s3-server": 8,
    "prefect-worker": 1,
}  # fmt: skip
#: What a stranger may look at: that a server is well, and the page of servers and nights.
SHOWN = {
    "status-page": {"/", "/health"}, "mlflow-server": {"/health"}, "s3-server": {"/healthz", "/status"},
    "dask-scheduler": {"/health"}, "dask-workers": {"/health"}, "prefect-server": {"/api/health"},
}  # fmt: skip
PATHS = ("/", "/health", "/healthz", "/api/health", "/api/admin/settings", "/docs", "/status", "/json/counts.json",
         "/info/main/workers.html", "/version", "/metrics", "/dir/assign", "/vol/grow", "/buckets/x", "/cluster/status",
         "/api/2.0/mlflow/experiments/search?max_results=1", "/get-artifact?path=a&run_uuid=b")  # fmt: skip


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    platform = Platform(tmp_path_factory.mktemp("il"), "s3")
    # As version 0.1 left it.
    platform.state.mkdir()
    (platform.state / "environment").write_text("export IL_SCHEDULER=tcp://127.0.0.1:8786\n")
    (platform.state / "platform.json").write_text('{"ports": {}, "workers": 1, "s3": true}')
    try:
        code, told, trouble = platform.up("--s3", "--allow-host", LISTED)
        assert code == 0, told + trouble + logs(platform)
        yield platform
    finally:
        platform.down()
        for process in left_over(str(platform.state)):
            process.kill()


def doors(platform: Platform) -> dict[int, str]:
    """Return who listens on which port."""
    return {
        each.laddr.port: process.environ()["IL_SERVICE"]
        for process in left_over(str(platform.state))
        for each in process.net_connections("inet")
        if each.status == psutil.CONN_LISTEN
    }


def asked(
    port: int, path: str, body: str | None = None, method: str = "", **headers: str
) -> tuple[int, dict[str, str]]:
    """Return the status of an answer and its headers; 0 where the connection is closed instead."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest(method or ("GET" if body is None else "POST"), path, skip_host=True)
        for name, value in {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body or "")), **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders((body or "").encode())
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    except (http.client.HTTPException, ConnectionError):
        return 0, {}
    finally:
        connection.close()


def is_refused(status: int) -> bool:
    return status == 0 or 400 <= status < 500


def is_sign_of_life(service: str, path: str) -> bool:
    # The store says that it lives, and nothing else, to anybody.
    return service == "s3-server" and path in SHOWN[service]


def test_every_port_is_known(platform: Platform) -> None:
    assert Counter(doors(platform).values()) == KNOWN


def test_no_server_answers_to_a_strange_name(platform: Platform) -> None:
    for port, service in doors(platform).items():
        for path in PATHS:
            for host in (EVIL, f"{EVIL}:{port}", f"127.0.0.1.{EVIL}"):
                status, _ = asked(port, path, Host=host, Authorization=platform.signature)
                assert is_refused(status) or is_sign_of_life(service, path), (service, port, path, status)


@pytest.mark.parametrize("origin", [f"http://{EVIL}", "null", "http://127.0.0.1:1"])
def test_no_server_answers_to_a_strange_page(platform: Platform, origin: str) -> None:
    for port, service in doors(platform).items():
        for path in PATHS:
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
                told = {"Origin": origin, "Authorization": platform.signature, "Access_Control_Request_Method": "POST"}
                status, headers = asked(port, path, "{}", method, **told)
                where = (service, port, method, path, status, headers)
                assert is_refused(status) or is_sign_of_life(service, path), where
                # The store's refusals, which tell nothing, may be read.
                assert "access-control-allow-origin" not in headers or service == "s3-server", where


def test_no_websocket_opens_for_a_strange_page(platform: Platform) -> None:
    for port in doors(platform):
        for path in ("/api/events/in", "/api/events/out", "/api/logs/out", "/status/ws", "/eventstream", "/"):
            told = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
                    "Sec_WebSocket_Version": "13", "Sec_WebSocket_Protocol": "prefect"}  # fmt: skip
            for more in ({"Origin": f"http://{EVIL}"}, {"Host": EVIL}):
                assert is_refused(asked(port, path, **told, **more, Authorization=platform.signature)[0]), (port, path)


def is_shown(service: str, path: str) -> bool:
    # Prefect's pages are for everybody, and ask for the password before they show anything.
    return path in SHOWN.get(service, ()) or (service == "prefect-server" and not path.startswith("/api/"))


def test_no_server_answers_to_strangers(platform: Platform) -> None:
    for port, service in doors(platform).items():
        for path in PATHS:
            if not is_shown(service, path):
                status, _ = asked(port, path)
                assert is_refused(status), (service, port, path, status)
                wrong, _ = asked(port, path, Authorization="Basic aWw6Z3Vlc3M=")
                assert is_refused(wrong), (service, port, path, wrong)


def test_who_knows_the_password_is_let_in(platform: Platform) -> None:
    for name, path in (("prefect", "/api/admin/version"), ("mlflow", "/"), ("dashboard", "/json/counts.json")):
        for host in (f"127.0.0.1:{platform.ports[name]}", "localhost:9999", LISTED):
            told = {"Host": host, "Origin": f"http://{host}", "Authorization": platform.signature}
            status, headers = asked(platform.ports[name], path, **told)
            assert status == 200, (name, host)
            assert "access-control-allow-origin" not in headers
            assert name == "dashboard" or headers["x-frame-options"] == "SAMEORIGIN"


def test_dask_takes_no_work_without_the_certificate(platform: Platform) -> None:
    from distributed import Client, Security

    scheduler = f"tls://127.0.0.1:{platform.ports['dask']}"
    for address, keys in ((scheduler, Security.temporary()), (scheduler.replace("tls", "tcp"), Security())):
        with pytest.raises(OSError, match=r"TLS certificate|[Tt]imed out|connect|reset"):
            Client(address, security=keys, timeout="5s", set_as_default=False)
    told = platform.exported
    shown, key = told["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"], told["DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"]
    security = Security(tls_ca_file=shown, tls_client_cert=shown, tls_client_key=key)
    with Client(scheduler, security=security, timeout="20s", set_as_default=False) as client:
        assert client.submit(int, "7").result(timeout=30) == 7


def test_the_store_works_with_its_keys(platform: Platform) -> None:
    import boto3

    told = platform.exported
    client = boto3.client(
        "s3", endpoint_url=told["AWS_ENDPOINT_URL"], aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=told["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1",
    )  # fmt: skip
    client.create_bucket(Bucket="kept")
    client.put_object(Bucket="kept", Key="a", Body=b"1" * 3_000_000)
    assert len(client.get_object(Bucket="kept", Key="a")["Body"].read()) == 3_000_000
    for path in SHOWN["s3-server"]:
        assert _signed(platform, "s3", path) == b""
    for path in ("/kept", "/kept/a"):
        assert is_refused(asked(platform.ports["s3"], path)[0])
        assert is_refused(asked(platform.ports["s3"], path, "x", "PUT")[0])


def command(marker: Path) -> str:
    return f"touch {marker}"


def orders(platform: Platform, name: str, marker: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return what makes Prefect's worker run a command: a flow, a deployment of it, a run (of ids not known yet)."""
    pool = {"work_pool_name": "il", "entrypoint": "a.py:a", "path": str(marker.parent)}
    return [
        ("flows/", {"name": name}),
        ("deployments/", {"name": name, "flow_id": "FLOW", **pool, "job_variables": {"command": command(marker)}}),
        ("deployments/DEPLOYMENT/create_flow_run", {"state": {"type": "SCHEDULED"}}),
    ]


def carried_out(platform: Platform, name: str, marker: Path, **headers: str) -> list[int]:
    """Give the orders one after the other, each with what the last one answered; return the statuses."""
    found, known = [], {"FLOW": "0" * 32, "DEPLOYMENT": "0" * 32}
    for order, body in orders(platform, name, marker):
        path, text = order, json.dumps(body)
        for word, number in known.items():
            path, text = path.replace(word, number), text.replace(word, number)
        connection = http.client.HTTPConnection("127.0.0.1", platform.ports["prefect"], timeout=30)
        connection.request("POST", f"/api/{path}", text, headers)
        answer = connection.getresponse()
        told = answer.read()
        found.append(answer.status)
        if answer.status < 300:
            known["FLOW" if order == "flows/" else "DEPLOYMENT"] = json.loads(told)["id"]
        connection.close()
    return found


@pytest.mark.parametrize(
    ("why", "headers"),
    [
        ("origin", {"Origin": f"http://{EVIL}", "Content-Type": "text/plain"}),
        ("typeless", {"Origin": f"http://{EVIL}"}),
        ("json", {"Origin": f"http://{EVIL}", "Content-Type": "application/json"}),
        ("rebound", {"Host": f"{EVIL}:4200", "Origin": f"http://{EVIL}:4200", "Content-Type": "application/json"}),
        ("stranger", {"Content-Type": "application/json"}),
    ],
)
def test_a_page_cannot_run_a_command(platform: Platform, tmp_path: Path, why: str, headers: dict[str, str]) -> None:
    signed = {} if why == "stranger" else {"Authorization": platform.signature}
    statuses = carried_out(platform, why, tmp_path / "taken", **headers, **signed)
    assert statuses == ([401] if why == "stranger" else [403]) * 3
    assert platform.ask("flows/filter", {"flows": {"name": {"any_": [why]}}}) == []
    assert not (tmp_path / "taken").exists()


def test_the_attack_is_a_real_one(platform: Platform, tmp_path: Path) -> None:
    """Whoever knows the password may run commands: what the pages above try would do so, were they let in."""
    told = {"Content-Type": "application/json", "Authorization": platform.signature}
    assert carried_out(platform, "own", tmp_path / "taken", **told) == [201, 201, 201]
    until((tmp_path / "taken").exists, 120, "the worker has run the command")


@pytest.fixture
def evil(platform: Platform, tmp_path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The address of a page that means harm, and what it has found out."""
    found: dict[str, Any] = {}
    api = f"http://127.0.0.1:{platform.ports['prefect']}/api/"
    given = [[f"{api}{path}", json.dumps(body)] for path, body in orders(platform, "page", tmp_path / "taken")]
    mlflow = f"http://127.0.0.1:{platform.ports['mlflow']}/api/2.0/mlflow/experiments/create"
    dask = f"http://127.0.0.1:{platform.ports['dashboard']}/api/v1/retire_workers"
    given += [[mlflow, json.dumps({"name": "taken"})], [dask, json.dumps({"n": 1})]]
    page = (Path(__file__).parent / "attack.html").read_text()
    page = page.replace("PORTS", json.dumps(sorted(doors(platform)))).replace("ORDERS", json.dumps(given))

    class Evil(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode())

        def do_POST(self) -> None:
            found.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Evil) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{EVIL}:{server.server_port}/", found
        server.shutdown()


@needs_browser
def test_a_foreign_page_in_a_browser_gets_nothing(
    evil: tuple[str, dict[str, Any]], platform: Platform, tmp_path: Path
) -> None:
    address, found = evil
    browse(address, budget=120_000)
    assert found["sent"] > 0, "the page has not sent anything: this test would show nothing"
    # The refusals of the store may be read, and that it lives.
    store = {f"GET {host}:{platform.ports['s3']}" for host in ("127.0.0.1", "localhost")}
    assert set(found["read"]) <= store | {word.replace("GET", "GET health") for word in store}
    assert found["opened"] == []
    assert platform.ask("flows/filter", {"flows": {"name": {"any_": ["page"]}}}) == []
    counts = json.loads(_signed(platform, "dashboard", "/json/counts.json"))
    assert counts["workers"] == 1
    searched = json.loads(_signed(platform, "mlflow", "/api/2.0/mlflow/experiments/search?max_results=99"))
    assert "taken" not in {each["name"] for each in searched["experiments"]}
    assert not (tmp_path / "taken").exists()


@needs_browser
def test_a_name_pointed_at_this_machine_shows_nothing_in_a_browser(platform: Platform) -> None:
    for name in ("status", "prefect", "mlflow", "dashboard"):
        assert "this server answers to 127.0.0.1" in browse(f"http://{EVIL}:{platform.ports[name]}/").stdout, name


def _signed(platform: Platform, name: str, path: str) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", platform.ports[name], timeout=30)) as connection:
        connection.request("GET", path, headers={"Authorization": platform.signature})
        return connection.getresponse().read()


def test_the_password_is_told_to_nobody(platform: Platform) -> None:
    password = platform.exported["IL_PASSWORD"]
    for process in psutil.process_iter(["cmdline"]):
        assert not any(password in word for word in process.info["cmdline"] or ())
    held = {
        path.relative_to(platform.state) for path in platform.state.rglob("*")
        if path.is_file() and password.encode() in path.read_bytes()
    }  # fmt: skip
    assert held == {Path("environment")}
    assert platform.state.stat().st_mode & 0o077 == 0
