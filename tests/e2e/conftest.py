"""One installation per test process, started by the first test that needs it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import pytest

from tests.e2e.installation import Installation, wait_for
from tests.e2e.shop import Played, play_whole_path
from tunery.app.settings import Settings
from tunery.app.up import Up

LEASE_SECONDS = 4


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    settings = Settings(
        _env_file=None,
        port=0,
        lease_seconds=LEASE_SECONDS,
        node_name="first-node",
        rate_limit_points=1_000_000,
        rate_limit_per_second=1_000_000,
    )
    # Durable: without it PostgreSQL may forget what it has confirmed when it is killed, and it will be.
    with Up(settings, data_dir=folder / "data") as up:
        running = Installation(up)
        try:
            # `tunery up` does not wait for nodes: jobs do.
            wait_for(lambda: running.value("SELECT count(*) FROM nodes"), 60)
            yield running
        finally:
            running.close()


@contextmanager
def hub_online() -> Iterator[None]:
    """Other tests run with HF_HUB_OFFLINE, which the client reads once, at its import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield
        huggingface_hub.close_session()


@pytest.fixture(scope="session")
def played(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Played:
    with hub_online():
        return play_whole_path(installation, tmp_path_factory.mktemp("played"))


@pytest.fixture(autouse=True)
def online() -> Iterator[None]:
    with hub_online():
        yield


@pytest.fixture(autouse=True)
def no_unexpected_fault(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does to the installation, the API may refuse or be unavailable, and never be at a loss."""
    if "installation" not in request.fixturenames:
        yield
        return
    log: Path = request.getfixturevalue("installation").log("api")
    before = log.stat().st_size
    yield
    with log.open("rb") as file:
        file.seek(before)
        faults = [line for line in file if b'"unexpected fault"' in line or b"Exception in ASGI" in line]
    assert not faults, faults[0][-1000:].decode()
