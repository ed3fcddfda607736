"""`/_sandbox`: what Stripe does not have. JSON in and out, with the secret key, except for the health check."""

import json
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tunery.billing.sandbox.api import authenticate, public_base_url
from tunery.billing.sandbox.engine import Engine
from tunery.billing.sandbox.errors import InvalidRequest, StripeFault
from tunery.billing.sandbox.faults import InvalidFaults
from tunery.billing.sandbox.unit_of_work import Origin

_Answer = Callable[[Request], Awaitable[Response]]


class Control:
    """GET health, GET|POST|DELETE faults, GET deliveries[?event=], POST events/{id}/deliver."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/_sandbox/health", self._health, methods=["GET"]),
            Route("/_sandbox/faults", self._guarded(self._faults), methods=["GET", "POST", "DELETE"]),
            Route("/_sandbox/deliveries", self._guarded(self._deliveries), methods=["GET"]),
            Route("/_sandbox/events/{event}/deliver", self._guarded(self._deliver), methods=["POST"]),
        ]

    def _guarded(self, answer: _Answer) -> _Answer:
        async def guarded(request: Request) -> Response:
            try:
                authenticate(self._engine, request)
                return await answer(request)
            except StripeFault as fault:
                return JSONResponse(fault.body(), fault.status)

        return guarded

    async def _health(self, _: Request) -> Response:
        """Answers once the server takes requests."""
        return JSONResponse({"status": "ok"})

    async def _faults(self, request: Request) -> Response:
        """POST replaces all faults (`{}` removes them), DELETE removes them, GET shows what is left of them."""
        if request.method != "GET":
            try:
                self._engine.faults.replace(await _json_object(request) if request.method == "POST" else {})
            except InvalidFaults as error:
                raise InvalidRequest(str(error)) from error
        return JSONResponse(self._engine.faults.document())

    async def _deliveries(self, request: Request) -> Response:
        return JSONResponse({"data": self._engine.deliveries.documents(request.query_params.get("event"))})

    async def _deliver(self, request: Request) -> Response:
        """Delivers an event again to every endpoint that listens now, or to `{"webhook_endpoint": "we_..."}`."""
        body = await _json_object(request)
        with self._engine.begin(Origin(public_base_url(self._engine, request))) as uow:
            event = uow.get("event", request.path_params["event"], in_url=True)
            if "webhook_endpoint" in body:
                endpoints = [uow.get("webhook_endpoint", str(body["webhook_endpoint"]))["id"]]
            else:
                endpoints = list(uow.listening_endpoints(event["type"]))
            uow.deliveries.enqueue(uow.account, event["id"], endpoints)
        return JSONResponse({"event": event["id"], "webhook_endpoints": endpoints})


async def _json_object(request: Request) -> dict[str, object]:
    text = await request.body()
    try:
        body = json.loads(text or b"{}")
    except ValueError as error:
        raise InvalidRequest("The body is not JSON.") from error
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return body
