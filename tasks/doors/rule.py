"""What is refused at the door of a server: strange names, strange pages, strangers."""

import base64
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from ilcore.grammar.errors import BadInput

#: In the environment of every server: further names it answers to, separated by commas, and what it asks for.
HOSTS, PASSWORD = "IL_HOSTS", "IL_PASSWORD"
#: Who signs in with the password.
USER = "il"
#: Names of this machine that nobody else can point elsewhere.
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
#: What every answer carries: shown in no frame, taken for nothing but what it says it is.
HEADERS = {"X-Frame-Options": "SAMEORIGIN", "X-Content-Type-Options": "nosniff"}
_NAME = r"\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?"
_HOST = re.compile(rf"(?P<name>{_NAME})(:[0-9]{{1,5}})?")


@dataclass(frozen=True)
class Refusal:
    """An answer instead of the server's own."""

    status: HTTPStatus
    words: str

    @property
    def headers(self) -> dict[str, str]:
        """Return what goes with it; a browser then asks its reader for the password."""
        asks = {"WWW-Authenticate": f'Basic realm="{USER}", charset="UTF-8"'}
        return {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", **HEADERS} | (
            asks if self.status == HTTPStatus.UNAUTHORIZED else {}
        )


@dataclass(frozen=True, kw_only=True)
class Door:
    """The rule of one server.

    Args:
        hosts: Names it answers to beside those of loopback.
        password: What it asks for; None where what is behind it asks itself, or is for everybody.
        spared: Paths that tell nothing but that the server is well, and need no password.
    """

    hosts: tuple[str, ...] = ()
    password: str | None = None
    spared: frozenset[str] = frozenset()

    def refusal(self, method: str, path: str, headers: Iterable[tuple[str, str]]) -> Refusal | None:
        """Return why a request is refused; None where it is not.

        Args:
            headers: Names in any case, and values; a name may come twice.
        """
        told: dict[str, list[str]] = {}
        for name, value in headers:
            told.setdefault(name.lower(), []).append(value.strip())
        host = told.get("host", [])
        if len(host) != 1 or not self._is_known(host[0].lower()):
            names = ", ".join((*LOOPBACK, *self.hosts))
            return Refusal(HTTPStatus.FORBIDDEN, f"this server answers to {names}; il up --allow-host adds a name")
        if not _is_own(method, host[0].lower(), told):
            return Refusal(HTTPStatus.FORBIDDEN, "this server answers to its own pages only")
        if self.password is not None and path not in self.spared and not self._is_signed(told.get("authorization", [])):
            where = "it stands in the file `environment` of the platform's folder"
            return Refusal(HTTPStatus.UNAUTHORIZED, f"this server asks {USER} for the password; {where}")
        return None

    def _is_known(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        return found is not None and found["name"] in (*LOOPBACK, *self.hosts)

    def _is_signed(self, told: list[str]) -> bool:
        wanted = basic(self.password or "")
        return len(told) == 1 and hmac.compare_digest(told[0].encode(), wanted.encode())


def basic(password: str) -> str:
    """Return the header `Authorization` of whoever knows the password."""
    return "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()


def checked_hosts(names: Iterable[str]) -> tuple[str, ...]:
    """Return names as a browser sends them.

    Raises:
        BadInput: When one is no name: an address, a port or a pattern would let in more than was meant, or nothing.
    """
    found = tuple(dict.fromkeys(name.strip().lower() for name in names))
    wrong = [name for name in found if not re.fullmatch(_NAME, name)]
    if wrong:
        raise BadInput(f"a host must be a name such as lab.example.org, without port or *, got {', '.join(wrong)!r}")
    return found


def hosts_here() -> tuple[str, ...]:
    """Return the further names that this process is told to answer to."""
    return checked_hosts(name for name in os.environ.get(HOSTS, "").split(",") if name.strip())


def password_here() -> str:
    """Return the password that this process is told to ask for.

    Raises:
        BadInput: When there is none: no server comes up without.
    """
    if not os.environ.get(PASSWORD):
        raise BadInput(f"a server must have a password in {PASSWORD}, got none; il up makes one")
    return os.environ[PASSWORD]


def _is_own(method: str, host: str, told: dict[str, list[str]]) -> bool:
    """Tell whether a request is no page's, or that of a page of this very server."""
    for origin in told.get("origin", []):
        parts = urlsplit(origin.lower())
        if parts.scheme not in ("http", "https") or parts.netloc != host:
            return False
    if told.get("sec-fetch-site", ["none"])[0] not in ("cross-site", "same-site"):
        return True
    # Images, frames and scripts of a page elsewhere; only a link that its reader follows leads here.
    goes, shown = told.get("sec-fetch-mode", [""])[0], told.get("sec-fetch-dest", [""])[0]
    return method in ("GET", "HEAD") and goes == "navigate" and shown == "document"
