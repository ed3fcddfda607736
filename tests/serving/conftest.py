import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import torch
from loopback import running
from lora_adapters import MadeAdapter, make_adapter, random_weights
from serving_tenant import ServingTenant
from sqlalchemy import delete
from starlette.applications import Starlette
from tiny_source import TinySource

from tunery.core.database import Database
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.serving.engines.engine import EmbeddingEngine, Engine
from tunery.serving.engines.server import create_engine_app
from tunery.serving.engines.transformers_engine import TransformersEngine
from tunery.serving.gateway import routes
from tunery.serving.nodes import NodeToken
from tunery.training.models import Node


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """OpenMP's threads stall each other when several test processes share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> ObjectStorage:
    return ObjectStorage(tmp_path_factory.mktemp("adapters").as_uri())


@pytest.fixture(scope="session")
async def adapters(storage: ObjectStorage) -> list[MadeAdapter]:
    made = [make_adapter(seed) for seed in (1, 2, 3)]
    for adapter in made:
        await adapter.store(storage)
    return made


@pytest.fixture
async def new_adapters(storage: ObjectStorage) -> list[MadeAdapter]:
    """Two that no tenant has yet: a digest belongs to one adapter version."""
    # Strong enough that no seed leaves the base's answer as it is.
    made = [
        make_adapter(seed, weights=random_weights(seed, scale=2.0))
        for seed in (secrets.randbits(40), secrets.randbits(40))
    ]
    for adapter in made:
        await adapter.store(storage)
    return made


@pytest.fixture(scope="session")
async def engine(storage: ObjectStorage) -> AsyncIterator[TransformersEngine]:
    """The real one, with room for two adapters."""
    engine = TransformersEngine(storage, TinySource(), max_adapters=2, device="cpu")
    yield engine
    await engine.close()


@pytest.fixture
async def gateway(services: Services) -> AsyncIterator[str]:
    """URL of a gateway of its own: what one test's nodes served is not remembered in the next."""
    async with running(Starlette(routes=routes(services))) as url:
        yield url


@pytest.fixture
async def tenant(
    services: Services, sign_up: Callable[..., Awaitable[object]], gateway: str
) -> AsyncIterator[ServingTenant]:
    async with ServingTenant(services, await sign_up(), gateway) as tenant:
        yield tenant


@pytest.fixture
async def other_tenant(
    services: Services, sign_up: Callable[..., Awaitable[object]], gateway: str
) -> AsyncIterator[ServingTenant]:
    async with ServingTenant(services, await sign_up("Other"), gateway) as tenant:
        yield tenant


@pytest.fixture
async def register_node(services: Services) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """Announce nodes that serve; only this test's are known."""
    database = services.get(Database)

    async def forget_nodes() -> None:
        async with database.dispatch() as uow:
            await uow.session.execute(delete(Node))

    async def register(address: str, name: str = "node") -> None:
        async with database.dispatch() as uow:
            uow.session.add(Node(name=name, address=address, started_at=uow.now(), heartbeat_at=uow.now()))

    await forget_nodes()
    yield register
    await forget_nodes()


@pytest.fixture
async def serve_node(
    services: Services, register_node: Callable[..., Awaitable[None]]
) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Run a node with this engine and announce it; its address."""
    contexts = []

    async def serve(engine: Engine, embeddings: EmbeddingEngine | None = None) -> str:
        context = running(create_engine_app(engine, services.get(NodeToken).value, embeddings))
        contexts.append(context)
        address = await context.__aenter__()
        await register_node(address, f"node-{len(contexts)}")
        return address

    yield serve
    for context in contexts:
        await context.__aexit__(None, None, None)
