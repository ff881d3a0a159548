"""A real PostgreSQL on loopback, in a folder of its own."""

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.servers import free_port

_FOLDERS = (*os.environ.get("PATH", "").split(os.pathsep), *sorted(glob.glob("/usr/lib/postgresql/*/bin"))[::-1])
PROGRAMS = next((Path(each) for each in _FOLDERS if os.access(Path(each) / "pg_ctl", os.X_OK)), None)


def _nobody() -> str | None:
    """Return whom the server runs as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {each.pw_name for each in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class Postgres:
    """One server; nobody but this machine reaches it, and everybody there is let in."""

    def __init__(self) -> None:
        self.user, self.port = _nobody(), free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="il-postgres-"))
        if self.user:
            shutil.chown(self.folder, self.user)
        self._run("initdb", "-D", "data", "-U", "il", "-A", "trust", "--no-sync", "-E", "UTF8")
        settings = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", settings, "start")

    @property
    def uri(self) -> str:
        return f"postgresql://il@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, *words: str) -> None:
        assert PROGRAMS is not None
        # A server that stays would keep a pipe open: its words go to a file.
        with (self.folder / "said").open("a") as said:
            done = subprocess.run(
                [str(PROGRAMS / name), *words], cwd=self.folder, user=self.user, check=False, stdout=said, stderr=said
            )
        assert done.returncode == 0, (self.folder / "said").read_text()
