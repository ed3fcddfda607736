"""Deployments: from exactly one source that the tenant may use, under a name that is never used again."""

from typing import Any
from uuid import uuid4

import pytest
from listings import entitle, publish, revoke
from lora_adapters import TINY, MadeAdapter
from serving_tenant import ServingTenant
from sqlalchemy import func, select

from tunery.core.errors import Conflict, DomainError, InvalidInput, NotFound
from tunery.serving.deployments import delete_deployment, find_deployment
from tunery.serving.models import Deployment


async def refused(tenant: ServingTenant, kind: type[DomainError], field: str, code: str, **source: Any) -> None:
    """Refused with that field and code, and nothing was deployed."""

    async def count() -> int | None:
        async with tenant.database.unit_of_work(tenant.id) as uow:
            return await uow.session.scalar(select(func.count()).select_from(Deployment))

    before = await count()
    with pytest.raises(kind) as refusal:
        await tenant.deploy(**{"name": "refused", **source})
    assert (refusal.value.field, refusal.value.error_code) == (field, code)
    assert await count() == before


async def test_a_base_model_alone(tenant: ServingTenant) -> None:
    deployment = await tenant.deploy("plain", base_model_name=TINY)
    assert (deployment.digest, deployment.object_prefix, deployment.listing_id) == (None, None, None)
    async with tenant.database.unit_of_work(tenant.id) as uow:
        assert (await find_deployment(uow, "plain")).id == deployment.id


async def test_an_own_version(tenant: ServingTenant, new_adapters: list[MadeAdapter]) -> None:
    deployment = await tenant.deploy("mine", adapter_version_id=await tenant.own(new_adapters[0]))
    assert (deployment.digest, deployment.object_prefix) == (new_adapters[0].digest, new_adapters[0].prefix)


async def test_a_bought_listing_gives_its_latest_version_or_the_one_asked_for(
    tenant: ServingTenant, other_tenant: ServingTenant, new_adapters: list[MadeAdapter]
) -> None:
    listing_id = await publish(other_tenant, *new_adapters[:2])
    await entitle(tenant, other_tenant, listing_id)
    latest = await tenant.deploy("latest", listing_id=listing_id)
    older = await tenant.deploy("older", listing_id=listing_id, version=1)
    assert [latest.digest, older.digest] == [new_adapters[1].digest, new_adapters[0].digest]
    assert latest.listing_id == older.listing_id == listing_id
    await refused(tenant, NotFound, "version", "NOT_FOUND", listing_id=listing_id, version=9)


async def test_a_listing_that_was_not_bought_or_was_revoked_is_refused(
    tenant: ServingTenant, other_tenant: ServingTenant, new_adapters: list[MadeAdapter]
) -> None:
    listing_id = await publish(other_tenant, new_adapters[0])
    await refused(tenant, DomainError, "listingId", "PURCHASE_REQUIRED", listing_id=listing_id)
    await entitle(tenant, other_tenant, listing_id)
    await revoke(tenant, listing_id)
    await refused(tenant, DomainError, "listingId", "PURCHASE_REQUIRED", listing_id=listing_id)


async def test_a_seller_deploys_its_own_listing(other_tenant: ServingTenant, new_adapters: list[MadeAdapter]) -> None:
    deployment = await other_tenant.deploy("own", listing_id=await publish(other_tenant, new_adapters[0]))
    assert (deployment.digest, deployment.listing_id) == (new_adapters[0].digest, None)


async def test_foreign_and_unknown_sources_are_not_found(
    tenant: ServingTenant, other_tenant: ServingTenant, new_adapters: list[MadeAdapter]
) -> None:
    foreign = await other_tenant.own(new_adapters[0])
    for version_id in (foreign, uuid4()):
        await refused(tenant, NotFound, "adapterVersionId", "NOT_FOUND", adapter_version_id=version_id)
    await refused(tenant, NotFound, "listingId", "NOT_FOUND", listing_id=uuid4())
    await refused(tenant, NotFound, "baseModel", "NOT_FOUND", base_model_name="acme/unknown")


async def test_exactly_one_source_and_a_name_for_urls(tenant: ServingTenant) -> None:
    await refused(tenant, InvalidInput, "baseModel", "INVALID_INPUT", base_model_name=None)
    await refused(tenant, InvalidInput, "baseModel", "INVALID_INPUT", base_model_name=TINY, listing_id=uuid4())
    await refused(tenant, InvalidInput, "version", "INVALID_INPUT", base_model_name=TINY, version=1)
    await refused(tenant, InvalidInput, "name", "INVALID_INPUT", name="No Slug", base_model_name=TINY)


async def test_a_name_is_never_used_twice(tenant: ServingTenant, other_tenant: ServingTenant) -> None:
    await tenant.deploy("once")
    await refused(tenant, Conflict, "name", "CONFLICT", name="once", base_model_name=TINY)
    async with tenant.database.unit_of_work(tenant.id) as uow:
        await delete_deployment(uow, "once")
    await refused(tenant, Conflict, "name", "CONFLICT", name="once", base_model_name=TINY)
    async with tenant.database.unit_of_work(tenant.id) as uow:
        for verb in (find_deployment, delete_deployment):
            with pytest.raises(NotFound):
                await verb(uow, "once")
    await other_tenant.deploy("once")  # a name belongs to its tenant


async def test_another_tenants_deployment_is_not_found(tenant: ServingTenant, other_tenant: ServingTenant) -> None:
    await other_tenant.deploy("theirs")
    async with tenant.database.unit_of_work(tenant.id) as uow:
        for verb in (find_deployment, delete_deployment):
            with pytest.raises(NotFound):
                await verb(uow, "theirs")
    async with other_tenant.database.unit_of_work(other_tenant.id) as uow:
        assert (await find_deployment(uow, "theirs")).deleted_at is None
