"""A running sandbox, an endpoint that receives its webhooks, and the clock they share."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sandbox_server import SECRET_KEY, Receiver, RunningSandbox

from tunery.billing.sandbox import SandboxSettings


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = taking.answers.pop(0) if taking.answers else 200
            taking.received.append((body, self.headers["Stripe-Signature"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    taking = Receiver(f"http://127.0.0.1:{server.server_port}/webhooks")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield taking
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def clock() -> list[float]:
    """Business time; a test travels by changing its only element."""
    return [1_800_000_000.0]


@pytest.fixture(scope="session")
def stopping() -> Iterator[list[RunningSandbox]]:
    """Sandboxes that were asked to stop: the next test does not wait for the last one's."""
    sandboxes: list[RunningSandbox] = []
    yield sandboxes
    for sandbox in sandboxes:
        sandbox.join()


@pytest.fixture
def run_sandbox(clock: list[float], stopping: list[RunningSandbox]) -> Iterator[Callable[..., RunningSandbox]]:
    running: list[RunningSandbox] = []

    def run(**settings: Any) -> RunningSandbox:
        fast: dict[str, Any] = {"retry_schedule": (0.02, 0.05), "timer_interval": 0.02, "clock": lambda: clock[0]}
        sandbox = RunningSandbox(SandboxSettings(secret_key=SECRET_KEY, **(fast | settings)))
        running.append(sandbox)
        return sandbox

    yield run
    for sandbox in running:
        sandbox.stop()
        stopping.append(sandbox)


@pytest.fixture
def sandbox(run_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return run_sandbox()


@pytest.fixture
def open_session(sandbox: RunningSandbox) -> Callable[..., Any]:
    """Creates a checkout session for 2 x 12.50 USD."""

    def create(**params: Any) -> Any:
        item = {
            "price_data": {"currency": "usd", "unit_amount": 1250, "product_data": {"name": "Shop <adapter>"}},
            "quantity": 2,
        }
        defaults: dict[str, Any] = {
            "mode": "payment",
            "line_items": [item],
            "success_url": "https://shop.example/done?session={CHECKOUT_SESSION_ID}",
            "cancel_url": "https://shop.example/cancel",
        }
        return sandbox.stripe.v1.checkout.sessions.create(defaults | params)

    return create
