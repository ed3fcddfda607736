"""Takes the spans that our server sends (OTLP over HTTP) and forgets them."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def take(request: Request) -> Response:
    await request.body()
    return Response(media_type="application/x-protobuf")


app = Starlette(routes=[Route("/v1/traces", take, methods=["POST"])])
