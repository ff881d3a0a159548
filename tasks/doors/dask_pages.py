"""The door before the pages of Dask's scheduler and workers, which load this module first: dask ... --preload.

It takes its place as it is loaded, before a page can be asked for. A `dask_setup` would run after that, and Dask would
go on where one fails.
"""

from typing import Any

from distributed.http.routing import RoutingApplication
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from tasks.doors.rule import Door, Refusal, hosts_here, password_here

_DOOR = Door(hosts=hosts_here(), password=password_here(), spared=frozenset({"/health"}))
_find = RoutingApplication.find_handler


class _Refused(RequestHandler):
    def initialize(self, refusal: Refusal) -> None:
        self.refusal = refusal

    def prepare(self) -> None:
        self.set_status(self.refusal.status)
        for name, value in self.refusal.headers.items():
            self.set_header(name, value)
        self.finish(self.refusal.words)


def _guarded(application: RoutingApplication, request: HTTPServerRequest, **words: Any) -> Any:
    refusal = _DOOR.refusal(str(request.method), request.path, request.headers.get_all())
    if refusal is None:
        return _find(application, request, **words)
    return application.get_handler_delegate(request, _Refused, {"refusal": refusal})


RoutingApplication.find_handler = _guarded  # type: ignore[assignment,method-assign]
