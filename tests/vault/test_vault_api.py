from sqlalchemy import select

from tunery.core.database import Database
from tunery.core.services import Services
from tunery.vault.envelopes import ML_KEM_1024_P384, X_WING
from tunery.vault.keyring import Keyring, generate_data_key
from tunery.vault.models import TenantKey
from tunery.vault.rotation import rewrap_data_keys
from tunery.vault.signatures import fingerprint

KEYS = "{ tenantKeys { version suite fingerprint createdAt retiredAt destroyedAt } }"


async def test_a_tenant_rotates_its_key_and_sees_it_happen(api, services: Services, sign_up, owner):
    tenant, stranger = await sign_up(), await sign_up()
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        data_key = await services.get(Keyring).store_data_key(uow, generate_data_key(), purpose="test")
    payload = await api.mutate("rotateTenantKey", "tenantKey { version suite }", tenant, suite=ML_KEM_1024_P384)
    assert payload == {"tenantKey": {"version": 2, "suite": ML_KEM_1024_P384}, "userErrors": []}
    [new, old] = (await api.graphql(KEYS, tenant))["data"]["tenantKeys"]
    assert (new["version"], old["version"], old["suite"], old["retiredAt"]) == (2, 1, X_WING, None)

    await rewrap_data_keys(services, tenant.tenant_id)
    [new, old] = (await api.graphql(KEYS, tenant))["data"]["tenantKeys"]
    assert old["retiredAt"] == old["destroyedAt"] is not None
    assert new["retiredAt"] is new["destroyedAt"] is None
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        rows = (await uow.session.scalars(select(TenantKey).order_by(TenantKey.version.desc()))).all()
        assert await services.get(Keyring).open_data_key(uow, data_key.id)
    assert [key["fingerprint"] for key in (new, old)] == [fingerprint(row.public_key) for row in rows]
    [theirs] = (await api.graphql(KEYS, stranger))["data"]["tenantKeys"]
    assert theirs["version"] == 1
    assert theirs["fingerprint"] not in (new["fingerprint"], old["fingerprint"])


async def test_a_rotation_without_a_suite_is_to_the_default(api, sign_up):
    payload = await api.mutate("rotateTenantKey", "tenantKey { suite }", await sign_up())
    assert payload["tenantKey"]["suite"] == X_WING


async def test_what_cannot_be_rotated_stays_as_it_is(api, services: Services, sign_up):
    tenant = await sign_up()
    payload = await api.mutate("rotateTenantKey", "tenantKey { version }", tenant, suite="RSA")
    assert payload["tenantKey"] is None
    [error] = payload["userErrors"]
    assert (error["field"], error["code"]) == ("suite", "INVALID_INPUT")
    assert len((await api.graphql(KEYS, tenant))["data"]["tenantKeys"]) == 1

    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await services.get(Keyring).shred_tenant(uow)
    payload = await api.mutate("rotateTenantKey", "tenantKey { version }", tenant)
    assert [error["code"] for error in payload["userErrors"]] == ["NOT_FOUND"]
    [key] = (await api.graphql(KEYS, tenant))["data"]["tenantKeys"]
    assert key["destroyedAt"]
    assert key["retiredAt"] is None


async def test_keys_and_certificates_need_an_api_key(api):
    for document in (
        KEYS,
        "{ erasures { totalCount } }",
        "mutation { rotateTenantKey(input: {}) { tenantKey { version } userErrors { code } } }",
    ):
        answer = await api.graphql(document)
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["UNAUTHENTICATED"]
        assert not any((answer["data"] or {}).values())
