import pytest
from sqlalchemy import text

from tunery.core.database import Database
from tunery.core.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from tunery.core.events import Events
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.tenants.api_keys import authenticate, create_api_key, generate_secret, revoke_api_key
from tunery.tenants.sign_up import sign_up as sign_up_verb
from tunery.vault.keyring import Keyring


async def test_a_key_says_who_calls_until_it_is_revoked(services: Services, sign_up):
    tenant = await sign_up()
    database = services.get(Database)
    assert await authenticate(services.get(Reader), f"Bearer {tenant.api_key}") == tenant.identity
    async with database.unit_of_work(tenant.tenant_id) as uow:
        key, secret = create_api_key(uow, "second", tenant.identity.member_id)
        await uow.session.flush()
    assert (await authenticate(services.get(Reader), f"bearer {secret}")).api_key_id == key.id
    async with database.unit_of_work(tenant.tenant_id) as uow:
        await revoke_api_key(uow, key.id)
    with pytest.raises(Unauthenticated, match="revoked"):
        await authenticate(services.get(Reader), f"Bearer {secret}")
    assert await authenticate(services.get(Reader), f"Bearer {tenant.api_key}") == tenant.identity


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc", "Bearer tnr_short", "Bearer tnr_" + "ä" * 49])
async def test_what_is_no_key_is_refused(services: Services, header: str | None):
    with pytest.raises(Unauthenticated):
        await authenticate(services.get(Reader), header)


async def test_an_unknown_key_is_refused_and_a_mistyped_one_never_reaches_the_database(services: Services):
    secret = generate_secret()
    with pytest.raises(Unauthenticated, match="unknown"):
        await authenticate(services.get(Reader), f"Bearer {secret}")
    mistyped = secret[:20] + ("a" if secret[20] != "a" else "b") + secret[21:]
    with pytest.raises(Unauthenticated, match="no Tunery API key"):
        await authenticate(services.get(Reader), f"Bearer {mistyped}")


async def test_a_foreign_key_cannot_be_revoked(services: Services, sign_up):
    tenant, stranger = await sign_up(), await sign_up()
    database = services.get(Database)
    with pytest.raises(NotFound):
        async with database.unit_of_work(stranger.tenant_id) as uow:
            await revoke_api_key(uow, tenant.identity.api_key_id)
    assert await authenticate(services.get(Reader), f"Bearer {tenant.api_key}") == tenant.identity


async def test_the_secret_is_not_stored(services: Services, sign_up):
    tenant = await sign_up()
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        stored = await uow.session.scalar(text("SELECT row_to_json(k)::text FROM api_keys k"))
    assert tenant.api_key not in stored
    assert tenant.api_key[4:-4] not in stored


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("organisation", {"organisation": "  "}),
        ("email", {"email": "nobody"}),
        ("email", {"email": "a b@c.de"}),
        ("slug", {"slug": "No Spaces"}),
        ("slug", {"slug": "-x"}),
        ("slug", {"slug": "", "organisation": "???"}),
    ],
)
async def test_sign_up_names_the_field_that_is_wrong(services: Services, field: str, values: dict[str, str]):
    given = {"organisation": "Shop", "email": "a@b.example", "slug": None, **values}
    with pytest.raises(InvalidInput) as refused:
        async with services.get(Database).unit_of_work() as uow:
            await sign_up_verb(uow, services.get(Events), services.get(Keyring), **given)
    assert refused.value.field == field


async def test_a_slug_is_taken_once(services: Services, sign_up):
    tenant = await sign_up()
    with pytest.raises(Conflict, match="taken"):
        async with services.get(Database).unit_of_work() as uow:
            await sign_up_verb(
                uow,
                services.get(Events),
                services.get(Keyring),
                organisation="Copy",
                email="c@d.example",
                slug=tenant.slug,
            )
