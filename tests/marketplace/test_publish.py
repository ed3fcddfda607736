import asyncio
import uuid
from typing import Any

import pytest
from market import Market

from tunery.core.errors import InvalidInput, NotFound
from tunery.marketplace.models import Listing, ListingVersion, Seller
from tunery.marketplace.publish import withdraw_listing


async def test_first_publication_makes_the_tenant_a_seller_and_snapshots_the_version(
    market: Market, seller: Any
) -> None:
    version = await market.train(seller, "support-tone")

    listing = await market.publish(seller, version, title=" Support tone ", price=50, licence="cc-by-nc-4.0")

    assert (listing.name, listing.title, listing.status) == ("support-tone", "Support tone", "published")
    assert (listing.price, listing.currency, listing.licence) == (50, "usd", "cc-by-nc-4.0")
    [profile] = await market.rows(seller, Seller)
    assert (profile.namespace, profile.name) == (seller.slug, "Seller")
    [offered] = await market.rows(seller, ListingVersion)
    assert (offered.listing_id, offered.number, offered.digest) == (listing.id, 1, version.digest)
    assert (offered.manifest, offered.files) == (version.manifest, version.files)
    assert (offered.object_prefix, offered.base_model) == (version.object_prefix, "tunery/tiny")


async def test_next_version_joins_the_listing_and_renews_its_terms(market: Market, seller: Any) -> None:
    first = await market.publish(seller, await market.train(seller))
    second = await market.train(seller, number=2)

    renewed = await market.publish(seller, second, title="Second tone", description="New.", price=900, licence="mit")
    again = await market.publish(seller, second, price=800)

    assert first.id == renewed.id == again.id
    [listing] = await market.rows(seller, Listing)
    assert (listing.title, listing.price, listing.licence) == ("Support tone", 800, "apache-2.0")
    assert listing.published_at == first.published_at
    assert sorted(each.number for each in await market.rows(seller, ListingVersion)) == [1, 2]


async def test_concurrent_publications_are_one_listing(market: Market, seller: Any) -> None:
    await market.publish(seller, await market.train(seller, "a-seller-already"))
    # With connections that are open already, the five really overlap.
    await asyncio.gather(*(market.count(seller, Listing) for _ in range(10)))
    for name in ("one", "two", "three", "four"):
        versions = [await market.train(seller, name, number=number) for number in range(1, 6)]

        listings = await asyncio.gather(*(market.publish(seller, version) for version in versions))

        assert len({listing.id for listing in listings}) == 1
    assert await market.count(seller, Seller) == 1
    assert await market.count(seller, Listing) == 5
    assert await market.count(seller, ListingVersion) == 21


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"title": " ab "}, "title"),
        ({"title": "x" * 121}, "title"),
        ({"title": "two\nlines"}, "title"),
        ({"description": " "}, "description"),
        ({"description": "x" * 10_001}, "description"),
        ({"description": "nul \0"}, "description"),
        ({"licence": "wtfpl"}, "licence"),
        ({"licence": "MIT"}, "licence"),
        ({"price": 49}, "price"),
        ({"price": 0}, "price"),
        ({"price": 1_000_001}, "price"),
        ({"currency": "eur"}, "currency"),
    ],
)
async def test_broken_rule_names_its_field_and_publishes_nothing(
    market: Market, seller: Any, terms: dict[str, Any], field: str
) -> None:
    version = await market.train(seller)
    with pytest.raises(InvalidInput) as refused:
        await market.publish(seller, version, **terms)
    assert refused.value.field == field
    assert await market.count(seller, Listing) == await market.count(seller, Seller) == 0


async def test_other_tenants_and_unknown_versions_do_not_exist(market: Market, seller: Any, buyer: Any) -> None:
    version = await market.train(seller)
    with pytest.raises(NotFound) as foreign:
        await market.publish(buyer, version)
    assert foreign.value.field == "adapterVersionId"
    version.id = uuid.uuid4()
    with pytest.raises(NotFound):
        await market.publish(seller, version)
    for tenant in (seller, buyer):
        assert await market.count(tenant, Listing) == await market.count(tenant, Seller) == 0


async def test_only_its_seller_withdraws_a_listing(market: Market, seller: Any, buyer: Any) -> None:
    version = await market.train(seller)
    listing = await market.publish(seller, version)
    with pytest.raises(NotFound):
        async with market.database.unit_of_work(buyer.tenant_id) as uow:
            await withdraw_listing(uow, listing.id)
    assert [each.status for each in await market.rows(seller, Listing)] == ["published"]

    for _ in range(2):
        async with market.database.unit_of_work(seller.tenant_id) as uow:
            assert (await withdraw_listing(uow, listing.id)).status == "withdrawn"

    back = await market.publish(seller, version)
    assert (back.id, back.status) == (listing.id, "published")
    assert back.published_at > listing.published_at
