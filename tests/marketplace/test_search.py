"""The marketplace's list as everybody sees it: searched, paged, by base model."""

import secrets
from typing import Any

import pytest
from market import Market

from tunery.core import ids
from tunery.marketplace.publish import withdraw_listing

DOCUMENT = """query($text: String, $baseModel: String, $first: Int, $after: String) {
    listings(text: $text, baseModel: $baseModel, first: $first, after: $after) {
        nodes { id seller { namespace } } totalCount pageInfo { hasNextPage endCursor } } }"""


async def search(
    api: Any, text: str | None, first: int | None = 10, tenant: Any = None, **given: Any
) -> dict[str, Any]:
    answer = await api.graphql(DOCUMENT, tenant, text=text, first=first, **given)
    assert "errors" not in answer, answer
    return answer["data"]["listings"]


async def test_pages_lead_through_all_matches_newest_first(api: Any, market: Market, seller: Any) -> None:
    word = f"z{secrets.token_hex(6)}"
    published = []
    for index in range(5):
        version = await market.train(seller, f"adapter-{index}")
        published.append(await market.publish(seller, version, description=f"Speaks of {word} and lamps."))
    await market.publish(seller, await market.train(seller, "unrelated"))

    found, after, sizes = [], None, []
    while True:
        page = await search(api, f"lamp {word}", 2, after=after)
        found += page["nodes"]
        more, after = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]
        sizes.append((len(page["nodes"]), more, page["totalCount"]))
        if not more:
            break

    assert sizes == [(2, True, 5), (2, True, 5), (1, False, 5)]
    assert [node["id"] for node in found] == [ids.encode("listing", listing.id) for listing in reversed(published)]
    assert {node["seller"]["namespace"] for node in found} == {seller.slug}
    assert (await search(api, f'"{word} lamps"'))["nodes"] == []
    exact = await search(api, f"{word} -lamps")
    assert (exact["nodes"], exact["pageInfo"]) == ([], {"hasNextPage": False, "endCursor": None})
    assert (await search(api, word, after=after))["nodes"] == []


@pytest.mark.parametrize("beside", ["", " usage { meter }"], ids=["planned", "by graphql-core"])
async def test_a_blank_search_is_none(api: Any, market: Market, seller: Any, beside: str) -> None:
    await market.publish(seller)
    document = f"query($text: String) {{ listings(text: $text) {{ totalCount nodes {{ id }} }}{beside} }}"
    everything = await api.graphql(document, seller)
    assert everything["data"]["listings"]["nodes"]
    for blank in ("", "  ", "\n\t", " " * 1000):
        found = await api.graphql(document, seller, text=blank)
        assert found["data"] == everything["data"]
    assert (await api.graphql(document, seller, text="_"))["data"]["listings"]["nodes"] == []
    long = await api.graphql(document, seller, text="x" * 201)
    assert long["errors"][0]["extensions"]["field"] == "text"


async def test_withdrawn_listing_is_found_by_nobody(api: Any, market: Market, seller: Any, buyer: Any) -> None:
    word = f"z{secrets.token_hex(6)}"
    listing = await market.publish(seller, title=f"The {word}")
    await market.buy(buyer, listing)
    assert len((await search(api, word))["nodes"]) == 1

    async with market.database.unit_of_work(seller.tenant_id) as uow:
        await withdraw_listing(uow, listing.id)

    for tenant in (None, seller, buyer):
        assert (await search(api, word, tenant=tenant))["nodes"] == []


async def test_without_text_everything_is_listed(api: Any, market: Market, seller: Any) -> None:
    listing = await market.publish(seller)
    [newest] = (await search(api, None, 1))["nodes"]
    assert newest["id"] == ids.encode("listing", listing.id)


async def test_listings_are_found_by_base_model(api: Any, market: Market, seller: Any) -> None:
    word = f"z{secrets.token_hex(6)}"
    listing = await market.publish(seller, title=f"The {word}")
    assert len((await search(api, word, baseModel=listing.base_model))["nodes"]) == 1
    assert (await search(api, word, baseModel="acme/another"))["nodes"] == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"first": 0}, "first"),
        ({"first": 101}, "first"),
        ({"first": -1}, "first"),
        ({"text": "x" * 201}, "text"),
        ({"text": "\0"}, "text"),
        ({"baseModel": "x" * 201}, "baseModel"),
        ({"after": ""}, "after"),
        ({"after": "b2Zmc2V0OjI="}, "after"),
        ({"after": "é"}, "after"),
        ({"after": "1_2_3"}, "after"),
        ({"after": "9" * 40 + "_" + "0" * 32}, "after"),
    ],
)
async def test_malformed_request_is_refused(api: Any, given: dict[str, Any], field: str) -> None:
    answer = await api.graphql(DOCUMENT, **given)
    [error] = answer["errors"]
    assert answer["data"] is None
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("INVALID_INPUT", field)


@pytest.mark.parametrize("text", ["'", '"', "a & | !", "\\", "(((", "%_", "🙂", ":*"])
async def test_any_text_is_a_search(api: Any, text: str) -> None:
    assert (await search(api, text, 1))["nodes"] == []
