"""What the command tells of itself and of its machine: version, completion, doctor."""

import os
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from ilcore import __version__
from tasks.environment import machine
from tasks.services import doctor


def il(*words: str) -> Result:
    return CliRunner().invoke(app, words, prog_name="il")


def completed(*words: str) -> list[str]:
    """Return what bash is told that could stand for the last word."""
    known = {"_IL_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("il", *words)), "COMP_CWORD": str(len(words))}
    code = "import sys; sys.argv = ['il']; from flows.cli import app; app(prog_name='il')"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **known}, capture_output=True, text=True)
    return done.stdout.split()


def test_the_version() -> None:
    told = il("--version")
    assert told.exit_code == 0
    assert told.stdout.startswith(f"il {__version__} ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_every_shell(shell: str) -> None:
    told = il("completion", shell)
    assert told.exit_code == 0
    assert "_IL_COMPLETE" in told.stdout
    if program := shutil.which(shell):
        subprocess.run([program, "-n", "-c", told.stdout], check=True)


@pytest.mark.medium
def test_verbs_and_options_are_completed() -> None:
    assert completed("res") == ["restore", "resume"]
    assert "--overwrite" in completed("restore", "--o")


@pytest.mark.medium
def test_a_machine_that_is_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in doctor.SERVICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    told = il("doctor")
    assert told.exit_code == 0, told.output
    names = [line.split()[1] for line in told.stdout.splitlines()]
    assert {
        "Python",
        "packages",
        "extras",
        "devices",
        "disk",
        "temporary",
        "home",
        "clock",
        "proxies",
        "loopback",
        "ports",
    } <= set(names)
    assert all(line.startswith("ok") for line in told.stdout.splitlines())


@pytest.fixture
def deaf() -> Iterator[str]:
    """A port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def wrong() -> dict[str, str]:
    return {each.name: each.told for each in doctor.findings() if each.is_wrong}


@pytest.mark.parametrize("name", sorted(doctor.SERVICES))
def test_a_service_that_does_not_answer(name: str, deaf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = deaf.replace("http", "tcp") if name == "IL_SCHEDULER" else deaf
    monkeypatch.setenv(name, address.replace("//", "//me:secret@"))
    [found] = [each for each in doctor._services() if each.name == name]
    assert found.is_wrong
    assert f"unset {name}" in found.told
    assert "secret" not in found.told


def test_what_is_wrong_ends_with_1_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_LOOKS", (doctor._python, doctor._folders, doctor._memory))
    monkeypatch.setattr(doctor, "PYTHON", (9, 9, 9))
    monkeypatch.setattr(doctor, "MEMORY", 2**60)
    monkeypatch.setenv("SSL_CERT_FILE", "/none.pem")
    told = il("doctor")
    assert told.exit_code == 1
    assert "9.9.9 or later is wanted" in told.stdout
    assert "fewer --workers" in told.stdout
    assert "SSL_CERT_FILE must name certificates" in told.stdout


def test_a_clock_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.time, "time", lambda: 1e9)
    [found] = doctor._clock()
    assert found.is_wrong
    assert "set the clock" in found.told


def test_a_package_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0" if name == "torch" else real(name))
    [found] = doctor._packages()
    assert found.is_wrong
    assert "torch 1.0 (wanted" in found.told


@pytest.mark.medium
def test_a_package_of_an_extra_is_missed_by_nobody_but_must_be_of_a_version_that_we_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, old = doctor._version, {"supervisor": None, "mlflow": None}
    monkeypatch.setattr(doctor, "_version", lambda name: old.get(name, real(name)))
    [packages], [extras], [ports] = doctor._packages(), doctor._extras(), doctor._ports()
    assert not packages.is_wrong
    assert not extras.is_wrong
    assert "platform" in extras.told
    assert "run," not in extras.told
    assert "needs the extra platform" in ports.told
    old["prefect"] = "2.0"
    [packages] = doctor._packages()
    assert packages.is_wrong
    assert "prefect 2.0 (wanted" in packages.told


def test_extras_are_those_that_are_declared() -> None:
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert {*doctor._EXTRAS, "dev"} == set(declared["optional-dependencies"])


def test_a_folder_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ROOM_BYTES", 2**62)
    [found] = doctor._here()
    assert found.is_wrong


def test_what_cannot_be_looked_at_stops_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def _broken() -> Iterator[doctor.Finding]:
        raise RuntimeError("no idea")

    monkeypatch.setattr(doctor, "_LOOKS", (_broken, doctor._python))
    first, second = doctor.findings()
    assert first.is_wrong
    assert "no idea" in first.told
    assert not second.is_wrong
