"""The node's half of a grant: it holds no keys, and asks a worker for what its lease needs.

A request is a row that only the holder of a current lease can write (`lease_grants`); `answer_grant` is the other half.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import select

from tunery.core.database import Database
from tunery.core.errors import Conflict, DomainError, Unavailable
from tunery.core.outbox import enqueue
from tunery.training import leases
from tunery.training.leases import Lease, LeaseLost
from tunery.training.models import LeaseGrant
from tunery.training.nodes import NodeKey

GRANT: Final = "training.grant"
LONGEST_WAIT: Final = 20.0
"""Seconds until a node hands its lease back: no worker runs, or it can't use the root key now."""
POLL_SECONDS: Final = 0.05

GrantKind = Literal["keys", "signature"]
KeyName = Literal["data set", "checkpoints"]


class VersionTaken(Conflict):
    """Another job of the same adapter was faster: this one's version gets the next number."""

    code = "VERSION_TAKEN"


class GrantedKeys(msgspec.Struct, frozen=True):
    """The job's keys, each wrapped to the node's key with `grant_info`."""

    data_set: bytes
    checkpoints: bytes


@dataclass(frozen=True)
class JobKeys:
    """What opens a job's data set, and seals and opens its checkpoints."""

    data_set: bytes = field(repr=False)
    checkpoints: bytes = field(repr=False)


def grant_info(grant: LeaseGrant, key: KeyName) -> bytes:
    """What a wrapped key is bound to, and what it is for: it opens for no other lease, job, node or tenant."""
    return f"lease_grants/response/{grant.tenant_id}/{grant.job_id}/{grant.lease_token}/{grant.node}/{key}".encode()


async def request_keys(database: Database, lease: Lease, node_key: NodeKey) -> JobKeys:
    """The keys of the leased job, for this lease.

    Raises LeaseLost; Unavailable when nobody answers in time; DomainError with the code of what kept the worker from
    opening them.
    """
    grant, response = await _request(database, lease, "keys", node_key.public_key)
    wrapped = msgspec.json.decode(response, type=GrantedKeys)
    return JobKeys(
        data_set=node_key.unwrap(wrapped.data_set, grant_info(grant, "data set")),
        checkpoints=node_key.unwrap(wrapped.checkpoints, grant_info(grant, "checkpoints")),
    )


async def request_signature(database: Database, lease: Lease, manifest: bytes) -> bytes:
    """The installation's signature over the manifest of what the job made, as the file that goes with it.

    Raises LeaseLost; Unavailable when nobody answers in time, or the manifest's version is taken by now; DomainError
    with AdapterRefused's code when it isn't the job's manifest.
    """
    _, response = await _request(database, lease, "signature", manifest)
    return response


async def _request(database: Database, lease: Lease, kind: GrantKind, request: bytes) -> tuple[LeaseGrant, bytes]:
    async with database.unit_of_work(lease.tenant_id) as uow:
        job = await leases.hold(uow, lease)
        grant = LeaseGrant(
            job_id=job.id,
            lease_token=lease.token,
            node=job.lease_node,
            kind=kind,
            request=request,
            created_at=uow.now(),
        )
        uow.session.add(grant)
        await uow.session.flush()
        await uow.session.refresh(grant, ["tenant_id"])
        enqueue(uow, GRANT, tenant_id=str(lease.tenant_id), grant_id=str(grant.id))
    deadline = time.monotonic() + LONGEST_WAIT
    while (response := await _read_response(database, lease, grant.id)) is None:
        if time.monotonic() > deadline:
            raise Unavailable(
                f"no worker answered a lease's request for its {kind} within {LONGEST_WAIT:.0f} s: is one running, and"
                " can it use the root key?"
            )
        await asyncio.sleep(POLL_SECONDS)
    return grant, response


async def _read_response(database: Database, lease: Lease, identifier: UUID) -> bytes | None:
    """None: not yet."""
    answer = select(LeaseGrant.response, LeaseGrant.error_code, LeaseGrant.error_message)
    async with database.unit_of_work(lease.tenant_id) as uow:
        row = (await uow.session.execute(answer.where(LeaseGrant.id == identifier))).one_or_none()
    if row is None:
        raise LeaseLost(f"lease {lease.token} of job {lease.job_id} is over, or gets nothing")
    if row.error_code == VersionTaken.code:
        raise Unavailable(row.error_message)
    if row.error_code is not None:
        raise DomainError(row.error_message, code=row.error_code)
    response: bytes | None = row.response
    return response
