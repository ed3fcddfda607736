"""A multipart upload as a stream: one file part and a few short fields, never held in memory or on disk."""

from collections import deque
from collections.abc import AsyncIterator

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from tunery.core.errors import InvalidInput

LONGEST_FIELD = 1024
MOST_FIELDS = 8


class MultipartUpload:
    """Reads the request up to the file's first bytes (`open`), then hands out the file (`chunks`).

    Fields must come before the file, as the clients that we serve send them.
    """

    def __init__(self, request: Request) -> None:
        kind, options = parse_options_header(request.headers.get("content-type"))
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise InvalidInput("send multipart/form-data with the fields `purpose` and `file`", field="file")
        self._body = request.stream()
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )
        self._headers: dict[bytes, bytes] = {}
        self._header_name = self._header_value = b""
        self._field: str | None = None
        self._in_file = False
        self._chunks: deque[bytes] = deque()
        self._ended = False
        self.filename: str | None = None
        self.fields: dict[str, bytes] = {}

    async def open(self) -> str:
        """Read until the file begins; its name. Raises InvalidInput when there is none."""
        while self.filename is None and not self._ended:
            await self._feed()
        if self.filename is None:
            raise InvalidInput("the upload holds no file", field="file")
        return self.filename

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file's bytes. Raises InvalidInput when the upload breaks off."""
        while True:
            while self._chunks:
                yield self._chunks.popleft()
            if self._ended:
                return
            await self._feed()

    async def _feed(self) -> None:
        data = await anext(self._body, b"")
        try:
            if data:
                self._parser.write(data)
            else:
                self._parser.finalize()
        except MultipartParseError as error:
            raise InvalidInput(f"the upload is no valid multipart/form-data: {error}", field="file") from error
        if not data and not self._ended:
            raise InvalidInput("the upload broke off before its end", field="file")

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._field, self._in_file = None, False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name == "file" and self.filename is None:
            self._in_file = True
            self.filename = options.get(b"filename", b"upload.jsonl").decode("utf-8", "replace")
        else:
            if len(self.fields) >= MOST_FIELDS:
                raise InvalidInput(f"an upload has at most {MOST_FIELDS} fields", field=name)
            self._field = name
            self.fields[name] = b""

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._chunks.append(data[start:end])
        elif self._field is not None:
            self.fields[self._field] += data[start:end]
            if len(self.fields[self._field]) > LONGEST_FIELD:
                raise InvalidInput(f"the field is longer than {LONGEST_FIELD} bytes", field=self._field)

    def _on_end(self) -> None:
        self._ended = True
