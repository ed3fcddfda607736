"""`python -m tunery.billing.sandbox --port 12111 --data stripe.sqlite`."""

import argparse
import logging
import os

import uvicorn

from tunery.billing.sandbox.server import create_sandbox
from tunery.billing.sandbox.settings import DEFAULT_RETRY_SCHEDULE, DEFAULT_SECRET_KEY, SandboxSettings

# A request that was ordered to time out holds its connection; shutting down does not wait for its client.
_SHUTDOWN_SECONDS = 2


def _seconds(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def main(arguments: list[str] | None = None) -> None:
    """Serves one sandbox until SIGINT or SIGTERM; logs to standard error and prints nothing."""
    parser = argparse.ArgumentParser(prog="python -m tunery.billing.sandbox", description="A stateful Stripe stand-in.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=12111, help="port to listen on (default: %(default)s)")
    parser.add_argument("--data", default=":memory:", help="SQLite file (default: %(default)s, nothing is kept)")
    parser.add_argument(
        "--secret-key",
        default=os.environ.get("TUNERY_STRIPE_SANDBOX_SECRET_KEY", DEFAULT_SECRET_KEY),
        help="the key clients must use, sk_test_...; also TUNERY_STRIPE_SANDBOX_SECRET_KEY",
    )
    parser.add_argument("--public-url", help="what checkout URLs begin with (default: the Host clients ask for)")
    parser.add_argument(
        "--retry-seconds",
        type=_seconds,
        default=DEFAULT_RETRY_SCHEDULE,
        metavar="S,S,...",
        help="seconds before the 2nd, 3rd, ... attempt of a webhook; the last repeats for three days",
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=chosen.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # httpx repeats each webhook attempt, which the deliverer has logged with its event.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = SandboxSettings(
            secret_key=chosen.secret_key,
            data=chosen.data,
            public_url=chosen.public_url,
            retry_schedule=chosen.retry_seconds,
        )
    except ValueError as error:
        parser.error(str(error))
    uvicorn.run(
        create_sandbox(settings),
        host=chosen.host,
        port=chosen.port,
        log_config=None,
        ws="none",
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )


if __name__ == "__main__":
    main()
