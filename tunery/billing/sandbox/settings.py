"""What one sandbox is started with."""

import time
from collections.abc import Callable
from dataclasses import dataclass

DEFAULT_API_VERSION = "2026-10-28.endive"
DEFAULT_SECRET_KEY = "sk_test_tunery_sandbox"  # noqa: S105 - opens nothing but a sandbox

# Stripe's own first retries are minutes and hours apart; a developer wants the next attempt within seconds.
DEFAULT_RETRY_SCHEDULE = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)


@dataclass(frozen=True, kw_only=True)
class SandboxSettings:
    """Settings of one sandbox.

    `clock` is business time in seconds since the epoch: `created`, `expires_at`, funds becoming available.
    `delivery_clock` is the network's time: webhook signatures and retries. They differ because receivers check a
    signature against the wall clock, so a sandbox that travels in time must still sign with the present.

    `retry_schedule` holds the seconds before the 2nd, 3rd, ... attempt of a delivery; its last entry repeats until
    `retry_horizon` seconds have passed since the event (Stripe's three days). `public_url` is put into the `url` of
    checkout sessions; without it the `Host` of the request that created the session is used.

    Raises:
        ValueError: the secret key is not a test key, or the retry schedule is empty.
    """

    secret_key: str = DEFAULT_SECRET_KEY
    data: str = ":memory:"
    api_version: str = DEFAULT_API_VERSION
    account: str = "acct_1TunerySandbox"
    public_url: str | None = None
    clock: Callable[[], float] = time.time
    delivery_clock: Callable[[], float] = time.time
    retry_schedule: tuple[float, ...] = DEFAULT_RETRY_SCHEDULE
    retry_horizon: float = 3 * 86400.0
    delivery_timeout: float = 10.0
    delivery_concurrency: int = 8
    timer_interval: float = 0.5

    def __post_init__(self) -> None:
        if not self.secret_key.startswith("sk_test_"):
            raise ValueError("the sandbox takes test keys only: the secret key must begin with sk_test_")
        if not self.retry_schedule:
            raise ValueError("the retry schedule needs at least one interval")
