"""Object storage: a local folder or a bucket, behind obstore. Objects are written once under a new name and never
changed; what refers to them is a committed row.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
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
            self._folder: Path | None = Path(parts.path)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(parts.path)
        else:
            self._folder = None
            self._store = from_url(url)

    async def put(self, path: str, data: bytes) -> None:
        """Store the object: whole, and on the disk when this returns."""
        await obstore.put_async(self._store, path, data)
        await self.make_durable(path)

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

    def writer(self, path: str) -> "ObjectWriter":
        """An upload in parts. What isn't closed never appears."""
        return ObjectWriter(self, path, obstore.open_writer_async(self._store, path))

    async def make_durable(self, path: str) -> None:
        """A bucket answers when an object is durable; a file system has to be asked."""
        if self._folder is not None:
            await asyncio.to_thread(_sync, self._folder / path)

    async def list(self, prefix: str) -> list[str]:
        """The paths of all objects below a path."""
        return [found["path"] async for batch in obstore.list(self._store, prefix=prefix) for found in batch]

    async def delete(self, path: str) -> None:
        await obstore.delete_async(self._store, path)


class ObjectWriter:
    """One object being written: `await write(data)`, then `await close()`."""

    def __init__(self, storage: ObjectStorage, path: str, file: Any) -> None:
        self._storage = storage
        self._path = path
        self._file = file

    async def write(self, data: bytes) -> None:
        await self._file.write(data)

    async def close(self) -> None:
        """The object exists from here on."""
        await self._file.close()
        await self._storage.make_durable(self._path)


def _sync(path: Path) -> None:
    for name in (path, path.parent):
        descriptor = os.open(name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
