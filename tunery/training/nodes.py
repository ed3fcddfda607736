"""Nodes, as the control plane knows them: which are alive, and the key to which each gets what its leases need."""

from datetime import timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from tunery.core.database import UnitOfWork
from tunery.training.models import Node
from tunery.vault import envelopes

HEARTBEAT_TIMEOUT: Final = timedelta(seconds=30)


class NodeKey:
    """A node's HPKE key pair. Its private half is in this process's memory alone, and ends with it."""

    def __init__(self) -> None:
        self._private, self.public_key = envelopes.generate_key_pair(envelopes.X_WING)

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """A key that was wrapped to this node. Raises UnsealingFailed for any other, or another `info`."""
        return envelopes.unwrap(envelopes.X_WING, wrapped, self._private, info)


async def announce_node(uow: UnitOfWork, name: str, address: str, public_key: bytes | None = None) -> None:
    """Say that a node is alive, where it serves, and to which key it gets keys. As a node, or as the dispatcher."""
    now = uow.now()
    row = insert(Node).values(name=name, address=address, public_key=public_key, started_at=now, heartbeat_at=now)
    changed = {"address": address, "public_key": public_key, "heartbeat_at": now}
    await uow.session.execute(row.on_conflict_do_update(index_elements=[Node.name], set_=changed))


async def remove_node(uow: UnitOfWork, name: str, address: str) -> None:
    """Take a node off the list, unless another one has its name by now. As a node, or as the dispatcher."""
    await uow.session.execute(delete(Node).where(Node.name == name, Node.address == address))


async def find_public_key(uow: UnitOfWork, name: str) -> bytes | None:
    """The key that a live node announces; None when it isn't alive, or has none."""
    alive = select(Node.public_key).where(Node.name == name, Node.heartbeat_at > uow.now() - HEARTBEAT_TIMEOUT)
    return await uow.session.scalar(alive)
