"""An SSH server on loopback, for one account that shows a key: runs what it is told to, as sshd does."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncssh


class SSHServer:
    """A server in a thread of its own.

    Args:
        folder: Where keys are put: `user` is what a client must show.
        environment: What the account's programs find set; nothing of ours.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
        self.key, self.port = folder / "user", 0
        self.running: set[asyncio.subprocess.Process] = set()
        for name in ("host", "user"):
            asyncssh.generate_private_key("ssh-ed25519").write_private_key(folder / name)
        self._folder, self._listens = folder, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> "SSHServer":
        self._thread.start()
        assert self._listens.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        allowed = asyncssh.import_authorized_keys(asyncssh.read_private_key(self.key).export_public_key().decode())
        async with asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[str(self._folder / "host")], authorized_client_keys=allowed,
            process_factory=self._run, encoding=None,
        ) as server:  # fmt: skip
            self.port = server.get_port()
            self._listens.set()
            await self._over.wait()

    async def _run(self, asked: Any) -> None:
        """Run a command; signals of the client reach all its processes, and when it is gone they are hung up."""
        pipe = asyncio.subprocess.PIPE
        shell = await asyncio.create_subprocess_shell(
            asked.command, stdout=pipe, stderr=pipe, start_new_session=True, env=self._environment
        )
        self.running.add(shell)
        told = asyncio.ensure_future(_told(asked))
        ended = asyncio.gather(_pass_on(shell.stdout, asked.stdout), _pass_on(shell.stderr, asked.stderr), shell.wait())
        await asyncio.wait({told, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            os.killpg(shell.pid, told.result())
        await ended
        told.cancel()
        self.running.discard(shell)
        asked.exit(shell.returncode or 0)


async def _told(asked: Any) -> signal.Signals:
    """Return the signal that a client sends, or that it hung up."""
    try:
        while await asked.stdin.read(65536):
            pass
    except asyncssh.SignalReceived as received:
        return signal.Signals[f"SIG{received.signal}"]
    return signal.SIGHUP


async def _pass_on(source: Any, sink: Any) -> None:
    while data := await source.read(65536):
        # A client that has gone reads no more.
        with contextlib.suppress(OSError):
            sink.write(data)
