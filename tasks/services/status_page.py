"""The platform on one page, served on loopback: its servers, and the last night of every archive on schedule.

/                    the page          /alive    for the supervisor      /health   JSON, 503 unless all is well
/mornings/NAME/...   morning pages     /reports/...   reports that the books of these archives name
"""

import json
import sys
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from jinja2 import Environment, StrictUndefined

from ilcore.archives.books import Books
from ilcore.grammar.errors import ILError
from ilcore.stores.places import place_of
from tasks.doors.rule import HEADERS, Door, hosts_here
from tasks.services.supervising import platform_in, standings
from tasks.services.watchman import archives_in, start_watch
from tasks.tracking.client import Tracker

#: Nothing may be loaded from elsewhere, and no page may be framed.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'none'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", **HEADERS,
}  # fmt: skip
#: It shows and changes nothing, and asks for no password.
_DOOR = Door(hosts=hosts_here())


def add_archive(folder: Path, name: str, books: str) -> None:
    """Let the status page show an archive."""
    told = {**archives_in(folder), name: books}
    half = folder / "archives.json.half"
    half.write_text(json.dumps(told, indent=1), encoding="utf-8")
    half.replace(folder / "archives.json")


class _Pages(BaseHTTPRequestHandler):
    server_version, sys_version = "il", ""

    def __init__(self, folder: Path, *rest: Any) -> None:
        self.folder = folder
        super().__init__(*rest)

    def do_GET(self) -> None:
        """Answer."""
        refusal = _DOOR.refusal(self.command, self.path, self.headers.items())
        if refusal is not None:
            self._send(refusal.status, refusal.words, "text/plain")
            return
        if self.command != "GET":
            self._send(HTTPStatus.METHOD_NOT_ALLOWED, "this page is for reading only", "text/plain")
            return
        words = [unquote(word) for word in urlsplit(self.path).path.split("/")[1:]]
        match words:
            case [""]:
                self._send(HTTPStatus.OK, self._page(), "text/html")
            case ["alive"]:
                self._send(HTTPStatus.OK, "alive", "text/plain")
            case ["health"]:
                self._health()
            case ["mornings", name, page]:
                self._found(_morning(archives_in(self.folder), name, page))
            case ["reports", *rest]:
                self._found(_report(archives_in(self.folder), "/" + "/".join(rest)))
            case _:
                self._found(None)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815

    def _page(self) -> str:
        archives = archives_in(self.folder)
        nights = [(name, books, _last_night(books)) for name, books in archives.items()]
        source = (resources.files("tasks.services") / "status.html.j2").read_text(encoding="utf-8")
        template = Environment(autoescape=True, undefined=StrictUndefined).from_string(source)
        platform = platform_in(self.folder)
        now = standings(platform)
        tracks = any(each.is_well and each.service.name == "mlflow-server" for each in now)
        views = _views(platform.address("mlflow")) if tracks else {}
        return template.render(standings=now, archives=nights, folder=self.folder, views=views)

    def _health(self) -> None:
        found = standings(platform_in(self.folder))
        told = {each.service.name: {"state": each.state, "is_well": each.is_well} for each in found}
        well = all(each.is_well for each in found if each.service.name != "status-page")
        self._send(
            HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE, json.dumps(told, indent=1), "application/json"
        )

    def _found(self, page: str | None) -> None:
        if page is None:
            self._send(HTTPStatus.NOT_FOUND, "there is no such page", "text/plain")
        else:
            self._send(HTTPStatus.OK, page, "text/html")

    def _send(self, status: HTTPStatus, content: str, kind: str) -> None:
        body = content.encode()
        self.send_response(status)
        headers = {**_HEADERS, "Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _morning(archives: dict[str, str], name: str, page: str) -> str | None:
    """Return a morning page with links that a browser follows from here: none leads from a server to a file."""
    if name not in archives or PurePosixPath(page).name != page or not page.endswith(".html"):
        return None
    try:
        text = (place_of(archives[name]) / "mornings" / page).read_text(encoding="utf-8")
    except (OSError, ILError):
        return None
    return str(text).replace('href="file:///', 'href="/reports/')


def _report(archives: dict[str, str], path: str) -> str | None:
    """Return a report, if the books of an archive name it: nothing else on this machine is shown."""
    for books in archives.values():
        if path in _reports(books):
            return Path(path).read_text(encoding="utf-8") if Path(path).is_file() else None
    return None


def _reports(books: str) -> set[str]:
    opened = Books.of(books)
    return {
        str(entry["outcome"].get("report", "")) for night in opened.nights() for entry in opened.night(night)["done"]
    }


def _last_night(books: str) -> dict[str, Any] | None:
    try:
        opened = Books.of(books)
        nights = opened.nights()
        return opened.night(nights[-1]) if nights else None
    except (OSError, ValueError, ILError):
        return None


def _views(uri: str) -> dict[str, str]:
    try:
        return Tracker(uri).views()
    except ILError:
        return {}


def main(folder: str) -> None:
    """Serve the page of the platform in a folder."""
    platform = platform_in(Path(folder))
    start_watch(Path(folder))
    address = ("127.0.0.1", platform.port("status"))
    with ThreadingHTTPServer(address, partial(_Pages, Path(folder))) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
