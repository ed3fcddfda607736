"""The Stripe sandbox as a child process, and Tunery's webhook endpoint registered with it as with Stripe itself."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from tunery.app.embedded.data_folder import read_json, write_private
from tunery.app.embedded.guarded_process import GuardedProcess

if TYPE_CHECKING:
    import stripe

HOST = "127.0.0.1"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 5.0


def start_sandbox(
    python: Sequence[str], *, port: int, data: Path, secret_key: str, log: Path, environment: dict[str, str]
) -> GuardedProcess:
    """Starts the sandbox and returns when it answers. Raises StartError."""
    # The key by the environment: arguments can be read by every user of the machine.
    process = GuardedProcess(
        "Stripe sandbox",
        [*python, "-m", "tunery.billing.sandbox", "--port", str(port), "--data", str(data)],
        log=log,
        environment={**environment, "TUNERY_STRIPE_SANDBOX_SECRET_KEY": secret_key},
        stop_timeout=STOP_TIMEOUT,
    )
    process.wait_until(lambda: answers(f"http://{HOST}:{port}/", lambda _response: True), START_TIMEOUT)
    return process


def answers(url: str, is_expected: Callable[[httpx.Response], bool]) -> bool:
    """Whether a server gives the expected answer. Proxies of the environment are not asked: the server is local."""
    try:
        return is_expected(httpx.get(url, trust_env=False, timeout=5))
    except httpx.HTTPError:
        return False


@contextmanager
def stripe_client(secret_key: str, api_base: str) -> Iterator["stripe.StripeClient"]:
    """The real SDK. A sandbox on this machine is reached without the environment's proxies."""
    import requests
    import stripe

    with requests.Session() as session:
        session.trust_env = urlsplit(api_base).hostname != HOST
        yield stripe.StripeClient(
            secret_key,
            base_addresses={"api": api_base},
            http_client=stripe.RequestsClient(session=session),
            max_network_retries=2,
        )


def register_webhook_endpoint(file: Path, *, api_base: str, secret_key: str, url: str) -> str:
    """The signing secret of the endpoint `url`, created once and kept in `file`; a changed address updates it."""
    import stripe

    known = read_json(file)
    with stripe_client(secret_key, api_base) as client:
        if known:
            try:
                client.v1.webhook_endpoints.update(known["id"], {"url": url})
            except stripe.InvalidRequestError:  # the sandbox's state was deleted meanwhile
                known = {}
        if not known:
            endpoint = client.v1.webhook_endpoints.create({"url": url, "enabled_events": ["*"]})
            known = {"id": endpoint.id, "secret": endpoint.secret}
    write_private(file, json.dumps(known | {"url": url}) + "\n")
    return str(known["secret"])
