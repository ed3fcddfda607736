"""A small GraphQL client, as any user would write one."""

import json
from collections.abc import Iterator
from typing import Any

import httpx


class RefusedError(Exception):
    """The API answered with errors; the message is theirs."""


class ApiClient:
    """One organisation's view of the API."""

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        self.base_url = base_url
        self.api_key = api_key
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=120)

    def query(self, document: str, **variables: Any) -> dict[str, Any]:
        """The data of a query. Raises RefusedError."""
        answer = self._http.post("/graphql", json={"query": document, "variables": variables}).json()
        if answer.get("errors") or answer.get("error"):
            raise RefusedError(json.dumps(answer.get("errors") or answer["error"]))
        data: dict[str, Any] = answer["data"]
        return data

    def mutate(self, field: str, selection: str, **given: Any) -> dict[str, Any]:
        """Call one mutation with its input; its payload. Raises RefusedError for userErrors."""
        kind = field[0].upper() + field[1:] + "Input!"
        document = (
            f"mutation($input: {kind}) {{ {field}(input: $input) {{ {selection} userErrors {{ field message }} }} }}"
        )
        payload: dict[str, Any] = self.query(document, input=given)[field]
        if payload["userErrors"]:
            raise RefusedError(f"{field}: {payload['userErrors']}")
        return payload

    def subscribe(self, document: str, **variables: Any) -> Iterator[dict[str, Any]]:
        """The events of a subscription by Server-Sent Events, until it completes."""
        body = {"query": document, "variables": variables}
        with self._http.stream(
            "POST", "/graphql", json=body, headers={"accept": "text/event-stream"}, timeout=None
        ) as response:
            if not response.headers["content-type"].startswith("text/event-stream"):
                raise RefusedError(response.read().decode())
            kind = ""
            for line in response.iter_lines():
                name, _, value = line.partition(":")
                if name == "event":
                    kind = value.strip()
                    if kind == "complete":
                        return
                elif name == "data" and kind == "next":
                    message = json.loads(value)
                    if message.get("errors"):
                        raise RefusedError(json.dumps(message["errors"]))
                    yield message["data"]

    def close(self) -> None:
        self._http.close()
