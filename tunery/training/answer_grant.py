"""The worker's half of a grant: it has the root key, and gives a lease what it needs and nothing else.

A node is given keys for two purposes alone, its job's data set and checkpoints; the purpose is part of how a data key
is wrapped. So rows that somebody forges, whoever wrote them, bring out no key of memory or of a secret.
"""

from uuid import UUID

import msgspec
from sqlalchemy import func, select

from tunery.core import ids
from tunery.core.canonical import canonical_json
from tunery.core.database import Database, UnitOfWork
from tunery.core.errors import DomainError, NotFound, Unavailable
from tunery.core.logs import get_logger
from tunery.core.services import Services
from tunery.training.adapter_manifest import SIGNATURE_CONTEXT, AdapterRefused, parse_manifest
from tunery.training.create_job import checkpoints_purpose
from tunery.training.data_sets import DATA_SETS
from tunery.training.models import Adapter, AdapterVersion, BaseModel, DataSet, LeaseGrant, Quote, TrainingJob
from tunery.training.nodes import find_public_key
from tunery.training.request_grant import GrantedKeys, KeyName, VersionTaken, grant_info
from tunery.training.training_spec import TrainingSpec
from tunery.vault import envelopes
from tunery.vault.keyring import Keyring
from tunery.vault.models import DataKey

log = get_logger(__name__)


class GrantRefused(DomainError):
    """The rows of a job ask for a key that isn't one of a job."""

    code = "GRANT_REFUSED"


async def answer_grant(services: Services, tenant_id: str, grant_id: str) -> None:
    """Answer a lease's request, once. One whose lease is over, or that its node didn't make, is thrown away."""
    keyring = services.get(Keyring)
    async with services.get(Database).unit_of_work(UUID(tenant_id)) as uow:
        job_id = await uow.session.scalar(select(LeaseGrant.job_id).where(LeaseGrant.id == UUID(grant_id)))
        if job_id is None:
            return
        # Whoever ends a lease holds this lock, too: what is found below can't go before the commit.
        job = await uow.session.get_one(TrainingJob, job_id, with_for_update=True)
        grant = await uow.session.get(LeaseGrant, UUID(grant_id))
        if grant is None or grant.granted_at is not None:
            return
        if (reason := await _why_stale(uow, grant, job)) is not None:
            log.warning("lease gets nothing", job_id=str(job.id), node=grant.node, kind=grant.kind, reason=reason)
            await uow.session.delete(grant)
            return
        try:
            grant.response = await (
                _wrap_keys(uow, keyring, grant, job) if grant.kind == "keys" else _sign(uow, keyring, grant, job)
            )
        except Unavailable:
            raise  # the root key can't be used now; the outbox asks again
        except DomainError as error:
            grant.error_code, grant.error_message = error.error_code, error.message
        grant.granted_at = uow.now()


async def _why_stale(uow: UnitOfWork, grant: LeaseGrant, job: TrainingJob) -> str | None:
    if grant.lease_token != job.lease_token or job.status not in ("queued", "running"):
        return "the lease is over"
    if job.lease_expires_at is None or job.lease_expires_at <= uow.now():
        return "the lease has run out"
    if grant.node != job.lease_node:
        return "another node holds the lease"
    public_key = await find_public_key(uow, grant.node)
    if public_key is None:
        return "the node is not alive"
    if grant.kind == "keys" and grant.request != public_key:
        return "the key isn't the one that the node announces"
    return None


async def _wrap_keys(uow: UnitOfWork, keyring: Keyring, grant: LeaseGrant, job: TrainingJob) -> bytes:
    quote = await uow.session.get_one(Quote, job.quote_id)
    data_set = await uow.session.get_one(DataSet, quote.data_set_id)
    if data_set.data_key_id is None:
        raise NotFound("data set", ids.encode("data set", data_set.id))
    if not data_set.object_path.startswith(DATA_SETS):
        raise GrantRefused("the data set's object isn't where data sets are")

    async def wrap(name: KeyName, data_key_id: UUID, purpose: str) -> bytes:
        if await uow.session.scalar(select(DataKey.purpose).where(DataKey.id == data_key_id)) != purpose:
            raise GrantRefused(f"the key of the job's {name} is for another purpose")
        key = await keyring.open_data_key(uow, data_key_id)
        return envelopes.wrap(envelopes.X_WING, key, grant.request, grant_info(grant, name))

    return msgspec.json.encode(
        GrantedKeys(
            data_set=await wrap("data set", data_set.data_key_id, data_set.object_path),
            checkpoints=await wrap("checkpoints", job.data_key_id, checkpoints_purpose(quote.id)),
        )
    )


async def _sign(uow: UnitOfWork, keyring: Keyring, grant: LeaseGrant, job: TrainingJob) -> bytes:
    await _check_manifest(uow, grant.request, job)
    return canonical_json((await keyring.signer(uow)).sign(grant.request, SIGNATURE_CONTEXT))


async def _check_manifest(uow: UnitOfWork, content: bytes, job: TrainingJob) -> None:
    """Raise AdapterRefused unless the manifest says of the job what the rows say of it."""
    manifest = parse_manifest(content)
    quote = await uow.session.get_one(Quote, job.quote_id)
    data_set = await uow.session.get_one(DataSet, quote.data_set_id)
    adapter = await uow.session.get_one(Adapter, job.adapter_id)
    base_model = await uow.session.get_one(BaseModel, quote.base_model_id)
    spec = msgspec.convert(quote.spec, TrainingSpec).within(base_model.context_length)
    given_and_due = {
        "name": (manifest.name, adapter.name),
        "base model": (manifest.base_model.name, base_model.name),
        "base model's revision": (manifest.base_model.revision, base_model.revision),
        "data set": (manifest.dataset_sha256, data_set.sha256),
        "hyper-parameters": (manifest.spec, spec),
        "trained tokens": (manifest.trained_tokens, quote.trained_tokens),
        "settled tokens": (manifest.trained_tokens, job.trained_tokens),
    }
    for what, (given, due) in given_and_due.items():
        if given != due:
            raise AdapterRefused(
                f"The manifest's {what} {given!r:.200} isn't the job's, {due!r:.200}.", code="MANIFEST_INVALID"
            )
    numbers = select(func.max(AdapterVersion.number)).where(AdapterVersion.adapter_id == adapter.id)
    number = (await uow.session.scalar(numbers) or 0) + 1
    if manifest.version != str(number):
        raise VersionTaken(f"the next version of this adapter is {number}, not {manifest.version:.20}")
