"""The public API as a program sees it: statuses, bodies and codes, nothing smoothed over."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx

PATIENCE_SECONDS = 30
EVENTS = "subscription($id: ID!, $after: Int!) { trainingJobEvents(id: $id, after: $after) { sequence kind data } }"


class Caller:
    """One API key's view, or nobody's."""

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self.http = httpx.Client(base_url=base_url, headers=headers, timeout=PATIENCE_SECONDS, trust_env=False)

    def graphql(self, document: str, **variables: Any) -> dict[str, Any]:
        return self.http.post("/graphql", json={"query": document, "variables": variables}).json()

    def data(self, document: str, **variables: Any) -> dict[str, Any]:
        answer = self.graphql(document, **variables)
        assert not answer.get("errors"), answer
        return answer["data"]

    def mutate(self, field: str, selection: str, **given: Any) -> dict[str, Any]:
        """A mutation's payload, with its `userErrors`."""
        kind = field[0].upper() + field[1:] + "Input!"
        errors = "userErrors { field code message }"
        document = f"mutation($input: {kind}) {{ {field}(input: $input) {{ {selection} {errors} }} }}"
        return self.data(document, input=given)[field]

    def refusal(self, field: str, selection: str, **given: Any) -> tuple[str | None, str]:
        """Field and code of a mutation's only user error; it must have no result."""
        payload = self.mutate(field, selection, **given)
        (error,) = payload.pop("userErrors")
        assert set(payload.values()) == {None}, payload
        assert error["message"]
        return error["field"], error["code"]

    def follow(self, job_id: str, *, after: int = 0, seconds: float = 150) -> Iterator[dict[str, Any]]:
        """A job's events by SSE until its end. Never hangs."""
        deadline = time.monotonic() + seconds
        body = {"query": EVENTS, "variables": {"id": job_id, "after": after}}
        with self.http.stream("POST", "/graphql", json=body, headers={"accept": "text/event-stream"}) as response:
            kind = ""
            for line in response.iter_lines():
                assert time.monotonic() < deadline, "the job did not end in time"
                name, _, value = line.partition(":")
                if name == "event":
                    kind = value.strip()
                    if kind == "complete":
                        return
                elif name == "data" and kind == "next":
                    message = json.loads(value)
                    assert not message.get("errors"), message
                    yield message["data"]["trainingJobEvents"]
        raise AssertionError("the subscription broke off")
