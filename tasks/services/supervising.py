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
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from configparser import Error, RawConfigParser
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from filelock import FileLock, Timeout

from ilcore.grammar.commands import command
from ilcore.grammar.errors import BadInput, ILError
from tasks.doors.keys import (
    credentials,
    kept_password,
    password_of,
    write_certificate,
    write_exports,
    write_secret,
)
from tasks.doors.rule import basic
from tasks.environment.settings import QUIET_NETWORK
from tasks.services.coming_up import Waiting
from tasks.services.commands import PORTS, Platform, Service
from tasks.services.launch import FOLDER, SERVICE, left_over

#: Seconds that the supervisor may take to write down that it runs.
ALIVE = 60.0


@dataclass(frozen=True)
class ServiceStatus:
    """How one server is.

    Args:
        state: What the supervisor says of its process, such as RUNNING or FATAL.
        is_well: Whether it also answers.
    """

    service: Service
    state: str
    is_well: bool
    told: str
    pid: int = 0


def start(platform: Platform, tell: Callable[[str], None]) -> list[ServiceStatus]:
    """Start what is not running yet, and return once all is well, which on a slow machine takes as long as it takes.

    Raises:
        BadInput: When a port is taken, or another platform runs in the folder.
        ILError: When a server does not come up; what came up stays.
    """
    folder = platform.folder
    with _held(folder, tell):
        if is_running(folder):
            if platform != platform_in(folder):
                raise BadInput(f"{folder} runs a platform with other settings; {of_platform('il down', folder)} first")
            if password_of(folder) is None:
                down = of_platform("il down", folder)
                raise BadInput(f"a platform must have a password, got one without in {folder}; {down}, then up again")
        else:
            _begin(platform)
        return _waited(platform, tell)


@contextlib.contextmanager
def _held(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Keep others from starting a platform in a folder; wait for one who is at it."""
    lock = FileLock(folder / "lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            tell("waiting   another `il up` is starting this platform")
            lock.acquire()
    except OSError as error:
        told = f"a folder of your own is wanted for a platform, got {folder} ({error.strerror})"
        raise BadInput(f"{told}; choose another with --folder") from error
    try:
        yield
    finally:
        lock.release()


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


def standings(platform: Platform) -> list[ServiceStatus]:
    """Return how each server is now."""
    try:
        states = {each["name"]: each for each in _asked(platform.folder, "getAllProcessInfo")}
    except (OSError, ILError):
        states = {}
    password = password_of(platform.folder)
    return [_standing(service, states.get(service.name), password) for service in platform.services]


def _standing(service: Service, process: dict[str, Any] | None, password: str | None) -> ServiceStatus:
    if process is None:
        return ServiceStatus(service, "STOPPED", False, "not started")
    state = str(process["statename"])
    is_well = state == "RUNNING" and _answers(service, password)
    return ServiceStatus(service, state, is_well, str(process["description"] or process["spawnerr"]), process["pid"])


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


def _waited(platform: Platform, tell: Callable[[str], None]) -> list[ServiceStatus]:
    waiting, alive = Waiting(tell, str(platform.folder / "logs")), time.monotonic()
    while True:
        now = standings(platform)
        lost = waiting.look(now)
        if lost:
            raise ILError(f"all servers must come up, got none of {', '.join(lost)}; see {platform.folder / 'logs'}")
        if all(each.is_well for each in now):
            return now
        if is_running(platform.folder):
            alive = time.monotonic()
        elif time.monotonic() - alive > ALIVE:
            log = platform.folder / "logs" / "supervisord.log"
            raise ILError(f"the supervisor must go on while servers start, got none any more; see {log}")
        time.sleep(0.5)


def _begin(platform: Platform) -> None:
    # Whoever lacks it is to be told before anything is written.
    from supervisor import supervisord

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
        [sys.executable, "-m", supervisord.__name__, "-c", str(folder / "supervisord.conf")],
        env={**os.environ, **keys}, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ILError(f"the supervisor must start, got {(done.stderr or done.stdout).strip()}; see {folder / 'logs'}")


def _check_ports(platform: Platform) -> None:
    wanted = {name: platform.port(name) for name in PORTS if name != "s3" or platform.s3}
    taken = {name: port for name, port in wanted.items() if not is_free(port)}
    if taken:
        told = ", ".join(f"{name}={port}" for name, port in taken.items())
        others = " ".join(f"--port {name}={_another(port)}" for name, port in taken.items())
        raise BadInput(f"ports must be free, got {told} taken; stop what listens there, or add: {others}")


def is_free(port: int) -> bool:
    """Tell whether a port of loopback is free."""
    with socket.socket() as probe:
        # Like the servers: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _another(port: int) -> int:
    """Return a free port above a taken one."""
    # Apart by ten, so that neighbours are not given the same.
    return next((each for each in range(port + 10, 65536, 10) if is_free(each)), port)


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
    settings["unix_http_server"] = {"file": _plain(str(_new_socket(folder))), "chmod": "0600"}
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
        "command": _plain(shlex.join((sys.executable, "-m", "tasks.services.launch", *service.command))),
        "environment": ",".join(f'{name}="{_plain(value)}"' for name, value in environment.items()),
        "priority": str(service.priority), "autorestart": "true", "startsecs": "2", "startretries": "5",
        "stopwaitsecs": str(service.patience), "stopasgroup": "true", "killasgroup": "true",
        "redirect_stderr": "true", "stdout_logfile": _plain(str(logs / f"{service.name}.log")),
        "stdout_logfile_maxbytes": "20MB", "stdout_logfile_backups": "3",
    }  # fmt: skip


def _plain(words: str) -> str:
    return words.replace("%", "%%")


def _socket(folder: Path) -> str:
    """Return where the supervisor listens, as it was told: whoever asks may have another folder for temporary files."""
    settings = RawConfigParser()
    try:
        settings.read(folder / "supervisord.conf", encoding="utf-8")
        return settings["unix_http_server"]["file"].replace("%%", "%")
    except (OSError, Error, KeyError) as error:
        raise ILError(f"a supervisor must have its settings in {folder}, got {type(error).__name__}") from error


def _new_socket(folder: Path) -> Path:
    """Return where the supervisor shall listen: such addresses are short, and folders may be deep."""
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
