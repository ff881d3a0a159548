"""What the machine around a process lacks is helped and told in one line, or is one sentence; never a traceback."""

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ilcore.grammar.errors import ILError
from tasks.environment import machine
from tasks.environment.proxies import LOOPBACK, proxies, spare_loopback

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "NO_PROXY", "no_proxy")
#: Some user's account that this machine knows nothing of.
STRANGER = 54321
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "TMPDIR", "TEMP", "TMP", "PREFECT_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    # What the first call in a process makes of its proxies, urllib keeps for all that follow.
    monkeypatch.setattr(urllib.request, "_opener", None)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may write to; what pytest makes is for its user alone."""
    with TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


@pytest.fixture
def dead() -> Iterator[str]:
    """An address that takes connections and never answers: worse than one that refuses them."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def server() -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"here")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()


def settled(environment: Mapping[str, str], code: str = "", **more: Any) -> dict[str, Any]:
    """Import our processes' settings in a process of its own, and return what it is left with."""
    told = (
        "import json, os, tasks\nfrom tasks.environment import machine\n"
        f"notes, troubles = machine.notes(), list(machine.troubles())\n{code}\n"
        "print(json.dumps({'notes': notes, 'troubles': troubles, 'environment': dict(os.environ)}))"
    )
    bare = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "HOME")}
    done = subprocess.run(
        [sys.executable, "-c", told], env={**bare, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        capture_output=True, text=True, timeout=60, check=False, **more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_no_client_asks_a_proxy_for_loopback(dead: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx
    import requests

    for name in PROXIES[:6]:
        monkeypatch.setenv(name, f"http://{dead}")
    assert spare_loopback() == []
    for address in (server, server.replace("127.0.0.1", "localhost")):
        assert httpx.get(address, timeout=5).text == "here"
        assert requests.get(address, timeout=5).text == "here"
        with urllib.request.urlopen(address, timeout=5) as answer:
            assert answer.read() == b"here"


def test_what_is_not_loopback_is_still_asked_of_the_proxy(dead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@{dead}")
    monkeypatch.setenv("NO_PROXY", "lab.example.org")
    spare_loopback()
    assert urllib.request.getproxies()["http"] == f"http://me:secret@{dead}"
    assert not urllib.request.proxy_bypass("elsewhere.example.org")
    assert urllib.request.proxy_bypass("lab.example.org")
    assert proxies() == {"HTTP_PROXY": dead}


@pytest.mark.parametrize("name", ["HTTP_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    "address", ["socks5://127.0.0.1:9", "socks://127.0.0.1:9", "http://lab:port", "http://[::1", "ftp://lab", "é"]
)
def test_a_proxy_that_no_client_can_use_stops_none(name: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    monkeypatch.setenv(name, address)
    [note] = spare_loopback()
    assert name in note
    assert address not in note, "it may hold a password"
    httpx.Client().close()


@pytest.mark.parametrize("word", ["[::1]", "fd00::/8", "[::1]:80", "lab:port", "é.example", "a,,b", "*.lab, .lab"])
def test_no_word_of_no_proxy_stops_a_client(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    monkeypatch.setenv("NO_PROXY", word)
    spare_loopback()
    httpx.Client().close()
    assert set(LOOPBACK) <= set(os.environ["NO_PROXY"].split(","))


@pytest.mark.parametrize("told", ["*", "lab, *"])
def test_no_proxy_for_anything_stays_that(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", told)
    spare_loopback()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "*"


def test_without_proxies_nothing_is_set() -> None:
    assert spare_loopback() == []
    assert "NO_PROXY" not in os.environ


def test_a_home_that_is_not_there_is_replaced_and_told(tmp_path: Path) -> None:
    found = settled({"HOME": str(tmp_path / "none"), "TMPDIR": str(tmp_path)})
    home = found["environment"]["HOME"]
    assert home == str(tmp_path / f"il-{os.getuid()}")
    assert Path(home).stat().st_mode & 0o777 == 0o700
    assert any("HOME" in note for note in found["notes"])
    assert found["troubles"] == []


def as_stranger(environment: Mapping[str, str]) -> str:
    """Return code that goes on as somebody whom this machine does not know, in whose way nothing is but permissions."""
    return (
        f"os.setgroups([]), os.setresgid({STRANGER}, {STRANGER}, {STRANGER}), os.setresuid({STRANGER}, {STRANGER}, "
        f"{STRANGER})\nimport tempfile\ntempfile.tempdir = None\nos.environ.update({dict(environment)!r})\n"
        "machine.settle()\nnotes, troubles = machine.notes(), list(machine.troubles())\n"
    )


@needs_root
def test_an_account_that_the_machine_does_not_know_has_a_home(open_folder: Path) -> None:
    found = settled({}, as_stranger({"HOME": "", "TMPDIR": str(open_folder)}))
    assert found["environment"]["HOME"] == str(open_folder / f"il-{STRANGER}")
    assert found["troubles"] == []


@needs_root
def test_a_home_into_which_one_may_not_look(open_folder: Path) -> None:
    locked = open_folder / "locked"
    (locked / "home").mkdir(parents=True)
    locked.chmod(0o700)
    known = {"HOME": str(locked / "home"), "TMPDIR": str(open_folder), "PREFECT_HOME": str(locked / "prefect")}
    found = settled({}, as_stranger(known))
    assert found["environment"]["HOME"] == str(open_folder / f"il-{STRANGER}")
    assert found["environment"]["PREFECT_HOME"].startswith(str(open_folder))
    assert found["troubles"] == []


def test_a_place_below_the_home_of_nobody(tmp_path: Path) -> None:
    found = settled({"PREFECT_HOME": "~nobody-of-this-name/prefect", "TMPDIR": str(tmp_path)})
    assert found["environment"]["PREFECT_HOME"].startswith(str(tmp_path))
    assert "PREFECT_HOME" in found["notes"][0]


@needs_root
def test_a_home_that_cannot_be_written_keeps_what_it_holds(open_folder: Path) -> None:
    home = open_folder / "home"
    (home / ".prefect").mkdir(parents=True)
    (home / ".prefect" / "profiles.toml").write_text("")
    found = settled(
        {},
        as_stranger({"HOME": str(home), "TMPDIR": str(open_folder)}) + "notes.append(str(machine.own_folder()))",
    )
    known = found["environment"]
    assert known["HOME"] == str(home), "credentials lie there"
    assert known["PREFECT_PROFILES_PATH"] == str(home / ".prefect" / "profiles.toml")
    mine = str(open_folder / f"il-{STRANGER}")
    for name in ("PREFECT_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        assert known[name].startswith(mine)
        assert name in found["notes"][0]
    assert found["notes"][-1] == f"{mine}/ilcore", "records of results in a store"


def test_a_folder_of_ours_that_is_somebody_elses_is_not_used(tmp_path: Path) -> None:
    elsewhere = tmp_path / "theirs"
    elsewhere.mkdir()
    (tmp_path / f"il-{os.getuid()}").symlink_to(elsewhere)
    found = settled({"HOME": str(tmp_path / "none"), "TMPDIR": str(tmp_path)})
    home = Path(found["environment"]["HOME"])
    assert home.name.startswith(f"il-{os.getuid()}-")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("kind", ["missing", "a file", "full"])
def test_a_folder_for_temporary_files_that_is_of_no_use(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "here"
    if kind == "a file":
        place.write_text("")
    if kind == "full":
        place = Path("/proc")  # has no room at all
    found = settled({"TMPDIR": str(place)})
    assert found["environment"]["TMPDIR"] in ("/tmp", "/var/tmp")
    assert str(place) in found["notes"][0]
    assert found["troubles"] == []


def test_with_no_room_anywhere_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ROOM_BYTES", 2**62)
    with pytest.raises(ILError, match="a folder for temporary files .*full.*TMPDIR"):
        machine.check()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_certificates_that_are_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, str(tmp_path / "none.pem"))
    with pytest.raises(ILError, match=f"{name} must name certificates"):
        machine.check()


def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    code = (
        "os.chdir('here'); os.rmdir('../here'); os.environ['TMPDIR'] = 'relative'; machine.settle()\n"
        "troubles = list(machine.troubles())\nfrom tasks.services import doctor\n"
        "troubles += [each.told for each in doctor.findings()]"
    )
    found = settled({}, code, cwd=str(tmp_path))
    assert found["troubles"] == ["the current folder must be there, got none; cd to one that is"] * 2
