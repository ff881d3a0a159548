"""Starts, watches and stops the local platform: supervisord keeps its processes alive, one folder keeps its state.

FOLDER/platform.json      what was started: ports, workers
FOLDER/supervisord.conf   written anew at every start; holds no secret
FOLDER/environment        what a shell must `source` to use the platform; holds its password
FOLDER/tls/               by which Dask's processes and the store's know their own
FOLDER/logs/              one file a server, rotated
"""

import contextlib
import hashlib
import json
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from configparser import RawConfigParser
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from filelock import FileLock

from ilcore.grammar.commands import command
from ilcore.grammar.errors import BadInput, ILError
from tasks.doors.keys import credentials, kept_password, password_of, write_certificate, write_exports, write_secret
from tasks.doors.rule import basic
from tasks.launch import FOLDER, SERVICE, left_over
from tasks.services import PORTS, Platform, Service
from tasks.settings import QUIET_NETWORK

#: A server that has not come up by then has failed: a first start of MLflow takes four minutes on two very busy cores.
PATIENCE = 420.0


@dataclass(frozen=True)
class Standing:
    """How one server is.

    Args:
        state: What the supervisor says of its process, such as RUNNING or FATAL.
        is_well: Whether it also answers.
    """

    service: Service
    state: str
    is_well: bool
    told: str


def start(platform: Platform, tell: Callable[[str], None]) -> list[Standing]:
    """Start what is not running yet, and return once all is well.

    Raises:
        BadInput: When a port is taken, or another platform runs in the folder.
        ILError: When a server does not come up; what came up stays.
    """
    folder = platform.folder
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with FileLock(folder / "lock", timeout=PATIENCE):
        if is_running(folder):
            if platform != platform_in(folder):
                raise BadInput(f"{folder} runs a platform with other settings; {of_platform('il down', folder)} first")
            if password_of(folder) is None:
                down = of_platform("il down", folder)
                raise BadInput(f"a platform must have a password, got one without in {folder}; {down}, then up again")
        else:
            _begin(platform)
        return _waited(platform, tell)


def stop(folder: Path) -> bool:
    """Stop the platform in a folder in good order; tell whether one was running."""
    if not is_running(folder):
        return False
    platform = platform_in(folder)
    _asked(folder, "shutdown")
    end = time.monotonic() + sum(service.patience for service in platform.services)
    while is_running(folder) and time.monotonic() < end:
        time.sleep(0.2)
    _end_all(folder)
    return True


def _end_all(folder: Path) -> None:
    """End what outlived the supervisor: it was asked before, and has had its time."""
    for process in left_over(str(folder)):
        with contextlib.suppress(psutil.Error):
            process.kill()


def of_platform(words: str, folder: Path) -> str:
    """Return a command for the platform in a folder, which is not named where it is the usual one."""
    return command(words) if folder == Path(".il").absolute() else command(f"{words} --folder", folder)


def is_running(folder: Path) -> bool:
    """Tell whether a supervisor is at work for a folder."""
    try:
        process = psutil.Process(int((folder / "supervisord.pid").read_text()))
        return str(folder / "supervisord.conf") in process.cmdline()
    except (OSError, ValueError, psutil.Error):
        return False


def platform_in(folder: Path) -> Platform:
    """Return what was started in a folder.

    Raises:
        BadInput: When nothing was.
    """
    try:
        told = json.loads((folder / "platform.json").read_text(encoding="utf-8"))
        # Those of version 0.1 name no hosts.
        hosts = tuple(told.get("hosts", ()))
        return Platform(folder=folder, ports=told["ports"], workers=told["workers"], s3=told["s3"], hosts=hosts)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(
            f"a platform must have been started in {folder}, got {error}; {of_platform('il up', folder)} starts one"
        ) from error


def standings(platform: Platform) -> list[Standing]:
    """Return how each server is now."""
    try:
        states = {each["name"]: each for each in _asked(platform.folder, "getAllProcessInfo")}
    except (OSError, ILError):
        states = {}
    password = password_of(platform.folder)
    return [_standing(service, states.get(service.name), password) for service in platform.services]


def _standing(service: Service, process: dict[str, Any] | None, password: str | None) -> Standing:
    if process is None:
        return Standing(service, "STOPPED", False, "not started")
    state = str(process["statename"])
    is_well = state == "RUNNING" and _answers(service, password)
    return Standing(service, state, is_well, str(process["description"] or process["spawnerr"]))


def _answers(service: Service, password: str | None) -> bool:
    if service.health is None:
        return True
    # The store has keys of its own, and takes any other signature for a wrong one.
    signed = {} if password is None or service.name == "s3-server" else {"Authorization": basic(password)}
    try:
        with urllib.request.urlopen(urllib.request.Request(service.health, headers=signed), timeout=5) as answer:
            return service.enough is None or service.enough(json.load(answer))
    except (OSError, ValueError, KeyError):
        return False


def _waited(platform: Platform, tell: Callable[[str], None]) -> list[Standing]:
    end, known = time.monotonic() + PATIENCE, set[str]()
    while True:
        now = standings(platform)
        for each in now:
            if each.is_well and each.service.name not in known:
                known.add(each.service.name)
                tell(each.service.name)
        if all(each.is_well for each in now):
            return now
        gone = [each.service.name for each in now if each.state == "FATAL"]
        if gone or time.monotonic() > end:
            late = gone or [each.service.name for each in now if not each.is_well]
            raise ILError(f"all servers must come up, got none of {', '.join(late)}; see {platform.folder / 'logs'}")
        time.sleep(0.5)


def _begin(platform: Platform) -> None:
    _check_ports(platform)
    folder = platform.folder
    for name in ("logs", "mlflow", "prefect", "dask", "s3"):
        (folder / name).mkdir(exist_ok=True)
    told = asdict(platform)
    del told["folder"]
    (folder / "platform.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    keys = {**credentials(kept_password(folder)), **(_keys(platform) if platform.s3 else {})}
    write_exports(folder, {**platform.environment, **keys})
    write_certificate(folder)
    with (folder / "supervisord.conf").open("w", encoding="utf-8") as file:
        _settings(platform).write(file)
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(folder / "supervisord.conf")],
        env={**os.environ, **keys}, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ILError(f"the supervisor must start, got {(done.stderr or done.stdout).strip()}; see {folder / 'logs'}")


def _check_ports(platform: Platform) -> None:
    import socket

    taken = []
    for name in PORTS:
        if name == "s3" and not platform.s3:
            continue
        with socket.socket() as probe:
            # Like the servers: a port whose last connections are still closing is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", platform.port(name)))
            except OSError:
                taken.append(f"{name}={platform.port(name)}")
    if taken:
        raise BadInput(f"ports must be free, got {', '.join(taken)} taken; stop what listens there, or --port NAME=N")


def _keys(platform: Platform) -> dict[str, str]:
    """Return the keys of the platform's own store, made at the first start."""
    settings = platform.folder / "s3" / "s3.json"
    if not settings.is_file():
        credentials = [{"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        write_secret(
            settings, json.dumps({"identities": [{"name": "il", "credentials": credentials, "actions": actions}]})
        )
    [identity] = json.loads(settings.read_text(encoding="utf-8"))["identities"]
    [pair] = identity["credentials"]
    return {
        "AWS_ACCESS_KEY_ID": pair["accessKey"], "AWS_SECRET_ACCESS_KEY": pair["secretKey"],
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": platform.address("s3"),
    }  # fmt: skip


def _settings(platform: Platform) -> RawConfigParser:
    """Return the supervisor's settings; its percent signs mean something to it, ours do not."""
    folder, logs = platform.folder, platform.folder / "logs"
    settings = RawConfigParser()
    socket = str(_socket(folder))
    settings["unix_http_server"] = {"file": _plain(socket), "chmod": "0600"}
    settings["supervisord"] = {
        "pidfile": _plain(str(folder / "supervisord.pid")), "logfile": _plain(str(logs / "supervisord.log")),
        "childlogdir": _plain(str(logs)),
    }  # fmt: skip
    settings["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for service in platform.services:
        settings[f"program:{service.name}"] = _program(service, folder)
    return settings


def _program(service: Service, folder: Path) -> dict[str, str]:
    logs = folder / "logs"
    environment = {FOLDER: str(folder), SERVICE: service.name, **QUIET_NETWORK, **service.environment}
    return {
        "command": _plain(shlex.join((sys.executable, "-m", "tasks.launch", *service.command))),
        "environment": ",".join(f'{name}="{_plain(value)}"' for name, value in environment.items()),
        "priority": str(service.priority), "autorestart": "true", "startsecs": "2", "startretries": "5",
        "stopwaitsecs": str(service.patience), "stopasgroup": "true", "killasgroup": "true",
        "redirect_stderr": "true", "stdout_logfile": _plain(str(logs / f"{service.name}.log")),
        "stdout_logfile_maxbytes": "20MB", "stdout_logfile_backups": "3",
    }  # fmt: skip


def _plain(words: str) -> str:
    return words.replace("%", "%%")


def _socket(folder: Path) -> Path:
    """Return where the supervisor listens: such addresses are at most 108 characters, and folders may be deeper."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"il-{os.getuid()}-{name}.sock"


def _asked(folder: Path, question: str) -> Any:
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, f"unix://{_socket(folder)}")
    try:
        return getattr(ServerProxy("http://127.0.0.1", transport).supervisor, question)()
    except Fault as error:
        raise ILError(f"the supervisor must answer, got {error.faultString}") from error
    finally:
        transport.close()
