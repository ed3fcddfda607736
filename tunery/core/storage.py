"""Object storage: a local folder or a bucket, behind obstore. Objects are written once under a new name and never
changed; what refers to them is a committed row.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.store import LocalStore, from_url

STREAM_CHUNK = 1024 * 1024


class ObjectStorage:
    """One bucket or folder, by its URL: `file:///folder` or `s3://bucket/prefix` (options from the AWS_* variables)."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        if parts.scheme == "file":
            Path(parts.path).mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(parts.path)
        else:
            self._store = from_url(url)

    async def put(self, path: str, data: bytes) -> None:
        await obstore.put_async(self._store, path, data)

    async def get(self, path: str) -> bytes:
        """The whole object. Raises FileNotFoundError."""
        result = await obstore.get_async(self._store, path)
        return bytes(await result.bytes_async())

    async def stream(self, path: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The object's bytes from `start` up to, not including, `end`, in chunks."""
        result = await obstore.get_async(
            self._store, path, options={"range": (start, end) if end is not None else {"offset": start}}
        )
        async for chunk in result.stream(min_chunk_size=STREAM_CHUNK):
            yield bytes(chunk)

    def writer(self, path: str) -> "obstore.AsyncWritableFile":
        """An upload in parts: `await write(data)`, then `await close()`; what isn't closed never appears."""
        return obstore.open_writer_async(self._store, path)

    async def delete(self, path: str) -> None:
        await obstore.delete_async(self._store, path)
