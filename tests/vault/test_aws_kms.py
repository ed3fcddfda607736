"""The real boto3 against moto's KMS, a real HTTP server on loopback."""

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator

import boto3
import pytest
from botocore.stub import Stubber
from moto.server import ThreadedMotoServer

from tunery.app.settings import Settings
from tunery.core.database import Database
from tunery.core.errors import Unavailable
from tunery.core.services import Services
from tunery.vault.aws_kms import REMEMBERED_SECONDS, THREADS, TIMEOUT_SECONDS, AwsKmsRootKey
from tunery.vault.keyring import Keyring, generate_data_key
from tunery.vault.root_keys import RootKeys
from tunery.vault.rotation import reseal_under_newest_root
from tunery.vault.sealing import UnsealingFailed

REGION = "eu-central-1"


class Kms:
    """What a test does as the key's owner."""

    def __init__(self, server: ThreadedMotoServer) -> None:
        host, port = server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.stop = server.stop

    def create_key(self) -> str:
        client = boto3.client("kms", region_name=REGION, endpoint_url=self.url)
        return client.create_key()["KeyMetadata"]["Arn"]


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kms]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    running = Kms(server)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", running.url)
    yield running
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


async def test_what_kms_seals_it_opens_in_the_same_context_alone(kms: Kms, refusals):
    arn = kms.create_key()
    root, other = AwsKmsRootKey(arn), AwsKmsRootKey(kms.create_key())
    assert root.id == f"aws-kms:{arn}"
    sealed = await root.seal(b"tenant_keys/1", b"private key" * 20)
    assert b"private key" not in sealed
    assert await root.unseal(b"tenant_keys/1", sealed, "tenant key") == b"private key" * 20
    before = refusals().get("tenant key", 0)
    for context, content in ((b"tenant_keys/2", sealed), (b"tenant_keys/1", sealed[:-1]), (b"tenant_keys/1", b"xx")):
        with pytest.raises(UnsealingFailed):
            await root.unseal(context, content, "tenant key")
    assert refusals()["tenant key"] == before + 3
    # What it may not do is no fault of the ciphertext.
    with pytest.raises(Unavailable, match="AccessDeniedException"):
        await other.unseal(b"tenant_keys/1", sealed, "tenant key")
    assert refusals()["tenant key"] == before + 3


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("IncorrectKeyException", UnsealingFailed),
        ("InvalidCiphertextException", UnsealingFailed),
        ("DisabledException", Unavailable),
        ("ThrottlingException", Unavailable),
    ],
)
async def test_what_kms_says_of_the_ciphertext_is_told_from_what_it_says_of_itself(
    code: str, expected: type[Exception]
):
    """What moto does not say."""
    root = AwsKmsRootKey(f"arn:aws:kms:{REGION}:123456789012:key/1d44a105-bbd6-4ba4-9586-2757e5efa781")
    client = boto3.client("kms", region_name=REGION)
    root._connected = client
    with Stubber(client) as stubber:
        stubber.add_client_error("decrypt", code)
        with pytest.raises(expected, match=code):
            await root.unseal(b"here", b"sealed", "tenant key")


async def test_what_was_opened_is_remembered_for_some_minutes(kms: Kms):
    now = 0.0
    arn = kms.create_key()
    root = AwsKmsRootKey(arn, now=lambda: now)
    sealed = [await root.seal(b"here", bytes([number])) for number in range(3)]
    assert await root.unseal(b"here", sealed[0], "tenant key") == b"\0"
    kms.stop()
    now = REMEMBERED_SECONDS - 1
    assert await root.unseal(b"here", sealed[0], "tenant key") == b"\0"
    for context, content in ((b"here", sealed[1]), (b"there", sealed[0])):
        with pytest.raises(Unavailable, match="can't be reached"):
            await root.unseal(context, content, "tenant key")
    now = REMEMBERED_SECONDS
    with pytest.raises(Unavailable):
        await root.unseal(b"here", sealed[0], "tenant key")


async def test_no_more_than_a_bound_is_remembered(kms: Kms, monkeypatch):
    monkeypatch.setattr("tunery.vault.aws_kms.MOST_REMEMBERED", 2)
    arn = kms.create_key()
    root = AwsKmsRootKey(arn)
    sealed = [await root.seal(b"here", bytes([number])) for number in range(3)]
    for content in sealed:
        await root.unseal(b"here", content, "tenant key")
    kms.stop()
    with pytest.raises(Unavailable):
        await root.unseal(b"here", sealed[0], "tenant key")
    assert [await root.unseal(b"here", content, "tenant key") for content in sealed[1:]] == [b"\1", b"\2"]


async def test_a_kms_that_does_not_answer_is_unavailable(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{closed.getsockname()[1]}")
        root = AwsKmsRootKey(f"arn:aws:kms:{REGION}:123456789012:key/1d44a105-bbd6-4ba4-9586-2757e5efa781")
        for act in (root.seal(b"here", b"x"), root.unseal(b"here", b"x", "tenant key")):
            with pytest.raises(Unavailable, match="can't be reached"):
                await act


@pytest.fixture
def silent_kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """It takes connections and says nothing: these."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connections.append(server.accept()[0])

        taking = threading.Thread(target=take)
        taking.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield connections
        server.shutdown(socket.SHUT_RDWR)
        taking.join()
    for connection in connections:
        connection.close()


async def test_nobody_waits_longer_than_a_call_may_take(silent_kms: list[socket.socket]):
    """However many call, and however few threads there are for it."""
    root = AwsKmsRootKey(f"arn:aws:kms:{REGION}:123456789012:key/1d44a105-bbd6-4ba4-9586-2757e5efa781")

    async def call(after: float) -> float:
        await asyncio.sleep(after)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="can't be reached"):
            await root.seal(b"here", b"x")
        return time.monotonic() - began

    waits = await asyncio.gather(*(call(0.05 * number) for number in range(5 * THREADS)), call(TIMEOUT_SECONDS + 0.5))
    assert max(waits) < TIMEOUT_SECONDS + 0.5
    assert waits[-1] < 0.2
    await asyncio.to_thread(root._threads.shutdown)  # until each thread has come back
    assert len(silent_kms) == THREADS


async def test_calls_leave_the_event_loop_free(kms: Kms):
    root = AwsKmsRootKey(kms.create_key())
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    counting = asyncio.create_task(count())
    await asyncio.gather(*(root.seal(b"here", b"x") for _ in range(10)))
    counting.cancel()
    assert turns > 5


async def test_an_installation_moves_from_a_file_to_kms(kms: Kms, services: Services, settings: Settings, sign_up):
    """And back, for the sake of the other tests."""
    tenant, key, database = await sign_up(), generate_data_key(), services.get(Database)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        identifier = (await services.get(Keyring).store_data_key(uow, key, purpose="test")).id
    arn = kms.create_key()
    before = settings.load_root_keys().ids
    text = f"aws-kms:{arn},{settings.root_key.get_secret_value()}"
    both = settings.model_copy(update={"root_key": type(settings.root_key)(text)}).load_root_keys()
    assert both.ids == [f"aws-kms:{arn}", *before]
    moved = Services()
    moved.add(Database, database)
    moved.add(Keyring, Keyring(both))
    try:
        await reseal_under_newest_root(moved)
        async with database.unit_of_work(tenant.tenant_id) as uow:
            assert await Keyring(RootKeys([AwsKmsRootKey(arn)])).open_data_key(uow, identifier) == key
            signer = await Keyring(RootKeys([AwsKmsRootKey(arn)])).signer(uow)
            with pytest.raises(Unavailable, match="root key that this needs is not here"):
                await services.get(Keyring).open_data_key(uow, identifier)
        assert signer.sign(b"message", "test")
    finally:
        back = Services()
        back.add(Database, database)
        back.add(Keyring, Keyring(RootKeys([*both.local, AwsKmsRootKey(arn)])))
        await reseal_under_newest_root(back)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        assert await services.get(Keyring).open_data_key(uow, identifier) == key
