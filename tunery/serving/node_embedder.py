"""Embeddings from the installation's own nodes: memory's `Embedder` where no other one is set up."""

import itertools
from collections.abc import Sequence

from tunery.core.database import Database
from tunery.core.errors import InvalidInput
from tunery.memory.embedding import BATCH, TextRefused
from tunery.serving.embedding_request import LONGEST_TEXT, MODEL
from tunery.serving.nodes import NodeClient, NodeLost, NoNode, NotLoaded, live_nodes


class NodeEmbedder:
    """Asks the live nodes in turn; one that is lost, busy, or doesn't embed, is no loss while another one does."""

    def __init__(self, database: Database, nodes: NodeClient) -> None:
        self._database = database
        self._nodes = nodes
        self._turns = itertools.count()

    @property
    def model(self) -> str:
        return MODEL

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Vectors of 384 numbers and unit length; of a text the first 256 tokens count.

        Raises Unavailable, and TextRefused for an empty text.
        """
        vectors: list[list[float]] = []
        for start in range(0, len(texts), BATCH):
            # A node refuses longer texts, and reads less of them than that.
            vectors += await self._ask([text[:LONGEST_TEXT] for text in texts[start : start + BATCH]])
        return vectors

    async def _ask(self, texts: list[str]) -> list[list[float]]:
        async with self._database.unit_of_work() as uow:
            addresses = await live_nodes(uow)
        first = next(self._turns) % max(1, len(addresses))
        lost: NodeLost | None = None
        for address in addresses[first:] + addresses[:first]:
            try:
                return await self._nodes.embed(address, MODEL, texts)
            except NotLoaded:
                continue
            except InvalidInput as error:
                raise TextRefused(error.message) from error
            except NodeLost as error:
                lost = error
        raise lost or NoNode(f"no node embeds with {MODEL} at the moment; try again in a little while")
