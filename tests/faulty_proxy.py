"""A proxy on loopback that lets an HTTP server look ill: it answers badly, breaks off, hangs, or is not there."""

import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SLOW_DOWN = (503, "SlowDown", "Please reduce your request rate.")
INTERNAL = (500, "InternalError", "We encountered an internal error. Please try again.")
#: What may be done to a request: answered with an error, broken off half-way, never answered, or passed on (None).
Fault = tuple[int, str, str] | str | None
BREAK, HANG = "break", "hang"


class FaultyProxy:
    """A proxy before an endpoint; `fault` says of every request, by its method and path, what becomes of it."""

    def __init__(self, endpoint: str) -> None:
        self.host, self.port = endpoint.removeprefix("http://").split(":")
        self.fault: Callable[[str, str], Fault] = lambda method, path: None
        self.requests, self.faults = 0, 0
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._server.proxy = self
        self.address = self._server.server_address
        self.endpoint = f"http://127.0.0.1:{self.address[1]}"
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def sometimes(self, share: float, *faults: Fault, seed: int = 0) -> None:
        """Do one of some things to a share of all requests."""
        drawn, lock = random.Random(seed), threading.Lock()

        def fault(method: str, path: str) -> Fault:
            with lock:
                return drawn.choice(faults) if drawn.random() < share else None

        self.fault = fault

    def refuse(self, seconds: float) -> None:
        """Refuse all connections for a while, and end those there are."""
        self.close()
        time.sleep(seconds)
        self._server = _Server(self.address, _Request)
        self._server.proxy = self
        self._serve()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()


@contextmanager
def faulty_proxy(endpoint: str) -> Iterator[FaultyProxy]:
    """A proxy for one test."""
    proxy = FaultyProxy(endpoint)
    try:
        yield proxy
    finally:
        proxy.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    proxy: FaultyProxy

    def __init__(self, *given: Any) -> None:
        self.clients: set[socket.socket] = set()
        super().__init__(*given)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.clients.add(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        for client in self.clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are nothing to tell of."""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _do(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = proxy.fault(self.command, self.path)
        proxy.requests += 1
        proxy.faults += fault is not None
        if fault == HANG:
            time.sleep(600)
        elif isinstance(fault, tuple):
            self._answer(*fault)
        else:
            self._pass_on(body, breaks=fault == BREAK)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _do

    def _answer(self, status: int, code: str, message: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _pass_on(self, body: bytes, *, breaks: bool) -> None:
        there = http.client.HTTPConnection(self.server.proxy.host, int(self.server.proxy.port), timeout=60)
        there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        # The host is signed: it must stay as the client named it.
        for name, value in self.headers.items():
            if name.lower() != "expect":
                there.putheader(name, value)
        there.endheaders(body)
        answer = there.getresponse()
        content = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        there.close()
        if breaks:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
