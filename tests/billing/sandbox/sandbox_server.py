"""A sandbox on a loopback port with the real SDK in front of it, and a receiver of its webhooks."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import requests
import stripe
import uvicorn

from tunery.billing.sandbox import SandboxSettings, create_sandbox

SECRET_KEY = "sk_test_of_the_tests"


def wait_for(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Polls until the condition gives something true, and gives that back."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("waited in vain")


class _PromptServer(uvicorn.Server):
    """Looks every few milliseconds, not ten times a second, whether it is to stop: dozens of tests wait for that."""

    async def main_loop(self) -> None:
        await self.on_tick(0)
        while not self.should_exit:  # noqa: ASYNC110 - uvicorn sets a flag, not an event
            await asyncio.sleep(0.005)


class RunningSandbox:
    """A sandbox served by uvicorn on a thread of its own."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            create_sandbox(settings), log_config=None, ws="none", lifespan="on", timeout_graceful_shutdown=1
        )
        self._server = _PromptServer(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        wait_for(lambda: self._server.started)
        self._session = requests.Session()
        self.stripe = self.sdk()
        self.http = httpx.Client(base_url=self.url, trust_env=False)

    def sdk(self, *, key: str = SECRET_KEY, timeout: float = 10, retries: int = 0) -> stripe.StripeClient:
        return stripe.StripeClient(
            key,
            base_addresses={"api": self.url},
            http_client=stripe.RequestsClient(timeout=timeout, session=self._session),
            max_network_retries=retries,
        )

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request without the SDK, signed in."""
        headers = {"Authorization": f"Bearer {SECRET_KEY}"} | options.pop("headers", {})
        return self.http.request(method, path, headers=headers, **options)

    def faults(self, **faults: Any) -> None:
        assert self.request("POST", "/_sandbox/faults", json=faults).status_code == 200

    def event_types(self) -> list[str]:
        """What happened, oldest first."""
        events = list(self.stripe.v1.events.list({"limit": 100}).auto_paging_iter())
        return [event.type for event in reversed(events)]

    def pay(self, url: str, **form: str) -> httpx.Response:
        return self.http.post(httpx.URL(url).path, data={"outcome": "pay"} | form)

    def stop(self) -> None:
        """Asks the server to stop, which takes it a tenth of a second; `join` waits for that."""
        self.http.close()
        self._session.close()
        self._server.should_exit = True

    def join(self) -> None:
        self._thread.join()


@dataclass
class Receiver:
    """Takes webhooks; answers with the statuses in `answers` first, then with 200."""

    url: str
    answers: list[int] = field(default_factory=list)
    received: list[tuple[bytes, str]] = field(default_factory=list)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body, _ in self.received]
