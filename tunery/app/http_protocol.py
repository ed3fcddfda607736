"""uvicorn's HTTP protocol, with the short way for GraphQL queries that are known.

uvicorn starts an ASGI task as soon as a request's headers are complete. For `/graphql` that is put off until the bytes
at hand are read: mostly they hold the whole request. If the short way can answer it, no task is made; else all goes on
as uvicorn has it, from the start. Keep-alive, pipelining, time-outs and shutdown stay uvicorn's.
"""

import asyncio
from functools import partial
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tunery.app.middleware import log_request, new_request_id
from tunery.graphql.short_way import Begun, ShortWay

PATH = "/graphql"


class HttpProtocol(HttpToolsProtocol):
    """Of one connection."""

    def __init__(self, *arguments: Any, short_way: ShortWay, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._short_way = short_way
        self._reading = False
        self._held: tuple[RequestResponseCycle, ASGI3Application] | None = None

    def data_received(self, data: bytes) -> None:
        self._reading = True
        super().data_received(data)
        self._reading = False
        if self._held is not None:
            (cycle, app), self._held = self._held, None
            # A client that does not read what it was sent is waited for, which takes a task.
            busy = cycle.more_body or self.transport.is_closing() or self.flow.write_paused
            if busy or not self._begin(cycle, app):
                super()._start_asgi_task(cycle, app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        scope = cycle.scope
        if self._reading and self._held is None and scope["path"] == PATH and scope["method"] == "POST":
            self._held = (cycle, app)
        else:
            super()._start_asgi_task(cycle, app)

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> bool:
        client = cycle.scope["client"]
        begun = self._short_way.begin(
            list(cycle.scope["headers"]), client[0] if client else "unknown", bytes(cycle.body)
        )
        if begun is None:
            return False
        begun.data.add_done_callback(partial(self._finish, cycle, app, begun))
        return True

    def _finish(
        self, cycle: RequestResponseCycle, app: ASGI3Application, begun: Begun, _data: "asyncio.Future[bytes | None]"
    ) -> None:
        request_id = new_request_id()
        lines = b"".join([b"%b: %b\r\n" % header for header in self.server_state.default_headers])
        if not cycle.keep_alive:
            lines += b"connection: close\r\n"
        response = self._short_way.finish(begun, request_id.encode(), lines)
        if cycle.disconnected or self.transport.is_closing():
            return
        if response is None:
            super()._start_asgi_task(cycle, app)
            return
        self.transport.write(response)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        log_request(cycle.scope, 200, begun.at, request_id)
