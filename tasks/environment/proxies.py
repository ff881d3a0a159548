"""Proxies of the environment, made fit for every client here: none stands before loopback, none stops a client.

httpx (Prefect) refuses to be made where one word of these variables means nothing to it, whomever it would ask;
requests (MLflow), urllib and websockets send to a proxy whatever NO_PROXY does not name.
"""

import ipaddress
import os
import re
from importlib.util import find_spec
from urllib.parse import urlsplit

#: Names of this machine, as NO_PROXY is to hold them.
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy")
#: ASCII without colons and brackets, and perhaps a port.
_HOST = re.compile(r"[!-9;-Z\\^-~]+(:[0-9]{0,5})?|[a-z]+://[!-Z\\^-~]+")


def spare_loopback() -> list[str]:
    """Let no proxy stand before loopback, and take proxies away that no client here can use; tell what was."""
    notes = []
    for name in _named():
        if os.environ[name] and not _is_usable(os.environ[name]):
            notes.append(f"{name} names a proxy that cannot be used here (http://HOST:PORT can): it is left out")
            del os.environ[name]
    told = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    if _named() or told:
        words = [word.strip() for word in told.split(",") if word.strip()]
        kept = [host for word in words if (host := _host(word))]
        if lost := [word for word in words if not _host(word)]:
            notes.append(f"NO_PROXY holds what is no host here: {', '.join(lost)} is left out")
        hosts = ",".join(dict.fromkeys([*kept, *LOOPBACK]))
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = "*" if "*" in kept else hosts
    return notes


def proxies() -> dict[str, str]:
    """Return the proxies that the environment names, without their passwords."""
    return {name: os.environ[name].rpartition("@")[2] for name in _named()}


def _named() -> list[str]:
    return [name for low in _PROXIES for name in (low, low.upper()) if name in os.environ]


def _is_usable(address: str) -> bool:
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return has_port and address.isascii() and (parts.scheme in ("http", "https") or _is_spoken(parts.scheme))


def _is_spoken(scheme: str) -> bool:
    # Prefect's client speaks SOCKS by the one package, MLflow's by the other.
    return scheme in ("socks5", "socks5h") and all(map(find_spec, ("socksio", "socks")))


def _host(word: str) -> str:
    """Return an entry of NO_PROXY as every client reads it; nothing where one cannot."""
    bare = word[1:-1] if word.startswith("[") and word.endswith("]") else word
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return word if _HOST.fullmatch(word) else ""
    return bare
