"""The door before Prefect's and MLflow's servers.

python -m tasks.doors.asgi HOST PORT     Prefect's server
mlflow server --app-name il              MLflow's finds `mlflow_app` by its entry point
"""

import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from tasks.doors.rule import HEADERS, USER, Door, Refusal, hosts_here, password_here

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]


class Guarded:
    """An application behind a door: requests and WebSockets that are refused do not reach it."""

    def __init__(self, app: App, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        refusal = self.door.refusal(scope.get("method", "GET"), scope["path"], headers)
        if refusal is None:
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            # Closed before it is accepted, a WebSocket is answered with 403.
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refuse(refusal, send)


def _with_headers(send: Send) -> Send:
    """Return a sender that adds ours to every answer, and takes away what would show it to pages elsewhere."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            more = {name.lower().encode(): value.encode() for name, value in HEADERS.items()}
            kept = [(name, value) for name, value in message.get("headers", ()) if _is_kept(name.lower(), more)]
            message["headers"] = [*kept, *more.items()]
        await send(message)

    return sending


def _is_kept(name: bytes, more: dict[bytes, bytes]) -> bool:
    return name not in more and not name.startswith(b"access-control-")


async def _refuse(refusal: Refusal, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in refusal.headers.items()]
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": refusal.words.encode()})


def mlflow_app() -> App:
    """Return MLflow's server behind a door, which asks for the password."""
    door = Door(hosts=hosts_here(), password=password_here(), spared=frozenset({"/health"}))
    from mlflow.server.fastapi_app import app

    return Guarded(app, door)


def serve_prefect(host: str, port: int) -> None:
    """Serve Prefect's API and pages behind a door; Prefect asks for the password itself, as its pages expect."""
    known = f"{USER}:{password_here()}"
    # Its own services ask its API as well.
    os.environ |= {"PREFECT_SERVER_API_AUTH_STRING": known, "PREFECT_API_AUTH_STRING": known}
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    api = get_current_settings().server.api
    app = Guarded(create_app(final=True), Door(hosts=hosts_here()))
    uvicorn.run(
        app, host=host, port=port, timeout_keep_alive=api.keepalive_timeout, log_level="warning", server_header=False
    )


if __name__ == "__main__":
    serve_prefect(sys.argv[1], int(sys.argv[2]))
