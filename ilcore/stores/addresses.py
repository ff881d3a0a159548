"""Addresses of volumes: a local path, a URL of a store, or a chain such as zip://scan.ome.zarr::s3://bucket/scans.zip."""

import os
import re
from urllib.parse import parse_qsl, urlsplit

from ilcore.grammar.errors import BadInput, BadVolume
from ilcore.grammar.plain_text import has_controls, plain

#: Parts of names by which queries carry secrets: presigned S3, Azure and Google URLs, and tokens of all kinds.
SECRET_WORDS = ("signature", "credential", "token", "secret", "password", "passwd", "accesskey", "apikey", "api_key")
SECRET_NAMES = ("sig", "key", "auth", "pwd")
_CHAIN = re.compile(r"[a-z][a-z0-9+.-]*::")


def is_remote(uri: object) -> bool:
    """Tell whether a place is a URL of a store rather than a local path."""
    text = _text(uri)
    return not text.startswith("file://") and ("://" in text or _CHAIN.match(text) is not None)


def normalised(uri: str | os.PathLike[str]) -> str:
    """Return a URL without the slashes at its end, or an absolute local path.

    Raises:
        BadInput: The URL carries credentials, or the address holds control characters.
    """
    text = _text(uri)
    refuse_secrets(text)
    if has_controls(text):
        raise BadInput(f"a path or URL without control characters was wanted, got {plain(text)}; rename it")
    if not is_remote(text):
        return os.path.abspath(text.removeprefix("file://"))
    return text if "::" in text or text.endswith("://") else text.rstrip("/")


def check_there(place: str) -> None:
    """Refuse a local path at which there is nothing.

    Raises:
        BadVolume: In one sentence.
    """
    if not is_remote(place) and not os.path.exists(place):
        raise BadVolume(f"a volume was wanted at {place}; there is nothing; check the path")


def joined(url: str, name: str) -> str:
    """Return the address of something inside a place; in a chain it is the first link that names what is inside."""
    head, chain, rest = url.partition("::")
    return f"{head if head.endswith('://') else head.rstrip('/') + '/'}{name}{chain}{rest}"


def protocols(url: str) -> tuple[str, ...]:
    """Return the protocols of an address, the outermost first."""
    return tuple(link.partition("://")[0] for link in url.split("::") if "://" in link or "/" not in link)


def refuse_secrets(uri: str | os.PathLike[str]) -> None:
    """Refuse a URL that carries credentials: plans, reports and logs repeat what they were given.

    Raises:
        BadInput: Without repeating the URL.
    """
    links = (link for link in _text(uri).split("::") if "://" in link)
    found = next((how for link in links if (how := _secret(link))), None)
    if found:
        raise BadInput(
            f"a URL without credentials was wanted, got one with {found} (not repeated here); give credentials by the "
            "environment or an AWS profile instead, see docs/stores.md"
        )


def _secret(link: str) -> str | None:
    place = link.partition("://")[2]
    # Keys of S3 may hold slashes, so that what a URL parser takes for the host is a part of the secret.
    head = re.split(r"[?#]", place)[0]
    if "@" in head.partition("/")[0] or re.match(r"[^/@]*:[^@]*@", head):
        return "a name or a key before its @"
    try:
        names = [name.lower() for name, _ in parse_qsl(urlsplit(link).query, keep_blank_values=True)]
    except ValueError:
        return None
    if any(name in SECRET_NAMES or any(word in name for word in SECRET_WORDS) for name in names):
        return "a signature or a key in its query"
    return None


def _text(uri: object) -> str:
    # A place in a store is path-like for nobody but itself: its words are its URL.
    return uri if isinstance(uri, str) else os.fspath(uri) if isinstance(uri, os.PathLike) else str(uri)
