import secrets
from typing import Any

import pytest
from market import Market

from tunery.core.errors import InvalidInput
from tunery.marketplace.publish import withdraw_listing
from tunery.marketplace.search import ListingPage, search_listings


async def search(market: Market, tenant: Any, text: str | None, first: int, after: str | None = None) -> ListingPage:
    async with market.database.unit_of_work(tenant.tenant_id) as uow:
        return await search_listings(uow, text, first, after)


async def test_pages_lead_through_all_matches_newest_first(market: Market, seller: Any, buyer: Any) -> None:
    word = f"z{secrets.token_hex(6)}"
    published = []
    for index in range(5):
        version = await market.train(seller, f"adapter-{index}")
        published.append(await market.publish(seller, version, description=f"Speaks of {word} and lamps."))
    await market.publish(seller, await market.train(seller, "unrelated"))

    found, after, sizes = [], None, []
    while True:
        page = await search(market, buyer, f"lamp {word}", 2, after)
        found += page.rows
        sizes.append((len(page.rows), page.has_next))
        after = page.end_cursor
        if not page.has_next:
            break

    assert sizes == [(2, True), (2, True), (1, False)]
    assert [row.listing.id for row in found] == [listing.id for listing in reversed(published)]
    assert {row.seller.namespace for row in found} == {seller.slug}
    assert (await search(market, buyer, f'"{word} lamps"', 10)).rows == []
    exact = await search(market, buyer, f"{word} -lamps", 10)
    assert (exact.rows, exact.has_next, exact.end_cursor) == ([], False, None)
    past_the_end = await search(market, buyer, word, 2, after)
    assert past_the_end.rows == []


async def test_withdrawn_listing_is_found_by_nobody(market: Market, seller: Any, buyer: Any) -> None:
    word = f"z{secrets.token_hex(6)}"
    listing = await market.publish(seller, title=f"The {word}")
    await market.buy(buyer, listing)
    assert len((await search(market, buyer, word, 10)).rows) == 1

    async with market.database.unit_of_work(seller.tenant_id) as uow:
        await withdraw_listing(uow, listing.id)

    for tenant in (seller, buyer):
        assert (await search(market, tenant, word, 10)).rows == []


async def test_without_text_everything_is_listed(market: Market, seller: Any, buyer: Any) -> None:
    listing = await market.publish(seller)
    for text in (None, "  "):
        [newest] = (await search(market, buyer, text, 1)).rows
        assert newest.listing.id == listing.id


@pytest.mark.parametrize(
    ("text", "first", "after", "field"),
    [
        (None, 0, None, "first"),
        (None, 101, None, "first"),
        (None, -1, None, "first"),
        ("x" * 201, 1, None, "text"),
        ("\0", 1, None, "text"),
        (None, 1, "", "after"),
        (None, 1, "b2Zmc2V0OjI=", "after"),
        (None, 1, "é", "after"),
        (None, 1, "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTkgMDFhMWY4YjYtYTE2My03ZjJhLWFjZjktMGRlZjZiYzAxMGVj", "after"),
    ],
)
async def test_malformed_request_is_refused(
    market: Market, buyer: Any, text: str | None, first: int, after: str | None, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await search(market, buyer, text, first, after)
    assert refused.value.field == field


@pytest.mark.parametrize("text", ["'", '"', "a & | !", "\\", "(((", "%_", "🙂", ":*"])
async def test_any_text_is_a_search(market: Market, buyer: Any, text: str) -> None:
    assert isinstance(await search(market, buyer, text, 1), ListingPage)
