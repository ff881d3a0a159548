"""Who is refused at the door of a server, and that no server of the platform is without one."""

import shlex
import ssl
import stat
from pathlib import Path

import pytest

from ilcore.grammar.errors import BadInput
from tasks.doors.keys import (
    certificate,
    credentials,
    exported,
    kept_password,
    write_certificate,
    write_exports,
)
from tasks.doors.rule import HOSTS, PASSWORD, Door, basic, checked_hosts
from tasks.services.commands import Platform
from tasks.services.supervising import platform_in

DOOR = Door(hosts=("lab.example.org",), password="secret", spared=frozenset({"/health"}))
SIGNED = ("Authorization", basic("secret"))


def status(*headers: tuple[str, str], method: str = "GET", path: str = "/", door: Door = DOOR) -> int:
    refusal = door.refusal(method, path, headers)
    return 200 if refusal is None else int(refusal.status)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:4200", "localhost:9", "LOCALHOST", "[::1]:4200", "lab.example.org", "lab.example.org:8"],
)
def test_names_of_this_machine_and_listed_ones_are_known(host: str) -> None:
    assert status(("Host", host), SIGNED) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:4200", "127.0.0.1.evil.example", "localhost.evil.example", "evil@127.0.0.1", "", "*",
     "127.0.0.1:4200.evil.example", "x.lab.example.org", "0.0.0.0:4200", "127.0.0.1, evil.example", "2130706433"],
)  # fmt: skip
def test_other_names_are_refused_even_with_the_password(host: str) -> None:
    assert status(("Host", host), SIGNED) == 403


def test_one_host_is_wanted() -> None:
    assert status(SIGNED) == 403
    assert status(("Host", "127.0.0.1"), ("host", "127.0.0.1"), SIGNED) == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:4300", "http://127.0.0.1", "http://localhost:4200", "file://",
     "chrome-extension://abc", "http://127.0.0.1:42000", ""],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
def test_pages_of_others_are_refused(origin: str, method: str) -> None:
    assert status(("Host", "127.0.0.1:4200"), ("Origin", origin), SIGNED, method=method) == 403
    assert status(("Host", "127.0.0.1:4200"), ("Origin", "http://127.0.0.1:4200"), ("Origin", origin), SIGNED) == 403


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:9000", "lab.example.org"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_answers_to_its_own_pages(scheme: str, host: str) -> None:
    assert status(("Host", host), ("Origin", f"{scheme}://{host}"), SIGNED, method="POST") == 200
    assert status(("Host", host), ("Sec-Fetch-Site", "same-origin"), SIGNED, method="POST") == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_from_elsewhere_only_a_link_leads_here(site: str) -> None:
    def of(mode: str, dest: str, method: str = "GET") -> int:
        told = (("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", dest))
        return status(("Host", "127.0.0.1:4200"), *told, SIGNED, method=method)

    assert of("navigate", "document") == 200
    assert of("navigate", "document", "POST") == 403
    assert of("navigate", "iframe") == 403
    assert of("no-cors", "image") == 403
    assert of("no-cors", "empty", "POST") == 403


def test_strangers_are_asked_for_the_password() -> None:
    for told in ([], [("Authorization", basic("guess"))], [("Authorization", "Bearer secret")], [SIGNED, SIGNED]):
        refusal = DOOR.refusal("GET", "/", [("Host", "127.0.0.1"), *told])
        assert refusal is not None
        assert refusal.status == 401
        assert refusal.headers["WWW-Authenticate"].startswith("Basic ")
    assert status(("Host", "127.0.0.1"), path="/health") == 200
    assert status(("Host", "evil.example"), path="/health") == 403
    assert status(("Host", "127.0.0.1"), door=Door()) == 200


@pytest.mark.parametrize(
    "name", ["*", "*.example.org", "a b", "lab.example.org:8080", "http://lab", "", "-", "a,b", "a/b"]
)
def test_a_host_that_is_no_name_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a host must be a name"):
        Platform(folder=tmp_path, hosts=(name,))


def test_a_port_without_room_for_the_stores_others_is_told(tmp_path: Path) -> None:
    assert Platform(folder=tmp_path, ports={"s3": 55433}, s3=True)
    with pytest.raises(BadInput, match="at most 55433, got 55434"):
        Platform(folder=tmp_path, ports={"s3": 55434}, s3=True)


def test_a_server_without_a_password_does_not_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.doors.asgi import mlflow_app, serve_prefect

    monkeypatch.delenv(PASSWORD, raising=False)
    with pytest.raises(BadInput, match="must have a password"):
        serve_prefect("127.0.0.1", 0)
    with pytest.raises(BadInput, match="must have a password"):
        mlflow_app()


def test_the_password_is_kept_where_only_its_owner_reads(tmp_path: Path) -> None:
    first = kept_password(tmp_path)
    assert len(first) >= 32
    assert kept_password(tmp_path) != first
    write_exports(tmp_path, {**credentials(first), "ODD": "a 'b' $c"})
    assert kept_password(tmp_path) == first
    assert exported(tmp_path)["ODD"] == "a 'b' $c"
    assert exported(tmp_path)["PREFECT_API_AUTH_STRING"] == f"il:{first}"
    assert stat.S_IMODE((tmp_path / "environment").stat().st_mode) == 0o600


def test_a_folder_of_version_0_1_gets_a_password(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("export PREFECT_API_URL=http://127.0.0.1:4200/api\n")
    (tmp_path / "platform.json").write_text('{"ports": {"prefect": 4201}, "workers": 2, "s3": false}')
    assert platform_in(tmp_path) == Platform(folder=tmp_path, ports={"prefect": 4201}, workers=2)
    assert kept_password(tmp_path)


def test_the_certificate_vouches_for_itself(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    shown, key = certificate(tmp_path)
    for path in (shown, key):
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    context = ssl.create_default_context(cafile=shown)
    context.load_cert_chain(shown, key)
    before = Path(shown).read_text()
    write_certificate(tmp_path)
    assert Path(shown).read_text() != before


def test_every_server_has_a_door_and_no_secret_in_its_words(tmp_path: Path) -> None:
    platform = Platform(folder=tmp_path, hosts=("Lab.example.org",), s3=True)
    assert platform.address("dask").startswith("tls://")
    for service in platform.services:
        told = shlex.join(service.command) + repr(dict(service.environment))
        assert "AUTH_STRING" not in told
        assert PASSWORD not in told
        if service.name == "s3-server":
            assert {"WEED_GRPC_CA", "WEED_HTTPS_VOLUME_CA", "WEED_HTTPS_FILER_CA", "WEED_HTTPS_MASTER_CA"} <= set(
                service.environment
            )
        elif service.name != "prefect-worker":
            assert service.environment[HOSTS] == "lab.example.org"


def test_the_hosts_of_the_administrator_are_kept(tmp_path: Path) -> None:
    assert checked_hosts(["A.example", "a.example", "b"]) == ("a.example", "b")
    (tmp_path / "platform.json").write_text('{"ports": {}, "workers": 1, "s3": false, "hosts": ["b"]}')
    assert platform_in(tmp_path).hosts == ("b",)
