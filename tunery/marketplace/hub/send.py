"""One file over HTTP: its headers, or all of it, or one range of it (RFC 9110, section 14)."""

import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.marketplace.access import Revision

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class UnsatisfiableRange(ValueError):
    """The range asked for begins after the end of the file."""


async def send_file(services: Services, request: Request, revision: Revision, file: dict[str, Any]) -> Response:
    """Stream a file of the revision from object storage. Raises FileNotFoundError when the object is missing."""
    size: int = file["size"]
    etag = f'"{file["sha256"]}"'
    headers = {
        "ETag": etag,
        "X-Repo-Commit": revision.commit,
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'inline; filename="{file["path"].rpartition("/")[2]}"',
        # Who may read it is decided anew each time, so no shared cache may answer instead.
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(size)})
    status, start, end = 200, 0, size
    # If-Range: a client that resumes with another version's ETag gets the whole of this one.
    if request.headers.get("if-range", etag) == etag:
        try:
            wanted = parse_range(request.headers.get("range"), size)
        except UnsatisfiableRange:
            return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
        if wanted is not None:
            status, (start, end) = 206, wanted
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if start == end:
        return Response(status_code=status, headers=headers)
    chunks = services.get(ObjectStorage).stream(f"{revision.object_prefix}/{file['path']}", start, end)
    # The first chunk is read before the status is sent: a missing object is then an error, not a truncated file.
    head = await anext(chunks)
    return StreamingResponse(_chain(head, chunks), status, headers)


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of the one range asked for.

    None means the whole file: no range, several, or one that can't be read, all of which RFC 9110 lets a server ignore.
    Raises UnsatisfiableRange.
    """
    match = _RANGE.fullmatch(header.replace(" ", "")) if header else None
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:  # the last so many bytes
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise UnsatisfiableRange
    return start, end


async def _chain(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for chunk in rest:
        yield chunk
