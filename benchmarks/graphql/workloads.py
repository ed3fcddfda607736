"""What is asked: the documents, and the calls in the fixed order in which every contender gets them."""

import json
import random
from dataclasses import dataclass
from typing import Any

from benchmarks.graphql.installation import Buyer, Installation

LISTING = (
    "query Listing($id: ID!) { listing(id: $id) { id name title description licence price currency publishedAt "
    "seller { namespace name } versions(first: 3) { number digest baseModel createdAt } } }"
)
_NEWEST = (
    "listings(first: $first) { edges { cursor node { id name title price currency publishedAt "
    "seller { namespace name } latestVersion { number digest baseModel createdAt } } } "
    "pageInfo { hasNextPage endCursor } }"
)
NEWEST = f"query Newest($first: Int!) {{ {_NEWEST} }}"
SEARCH = (
    "query Search($text: String!, $baseModel: String!, $first: Int!) { "
    "listings(text: $text, baseModel: $baseModel, first: $first) { edges { cursor node { "
    "id name title price currency baseModel seller { namespace name } } } pageInfo { hasNextPage endCursor } } }"
)
DEPLOYMENTS = (
    "query Deployments($first: Int!) { deployments(first: $first) { edges { cursor node { id name digest createdAt } } "
    "pageInfo { hasNextPage endCursor } } }"
)
TYPENAME = "{ __typename }"
MIXED = f"query NewestAndInvoice($first: Int!) {{ {_NEWEST} invoicePreview {{ subtotal }} }}"
"""A root field that a resolver answers beside one that SQL can: not for the planner."""

LISTINGS = 2000
PAGES = range(5, 37)  # 20.5 on average
WORDS = ("billing", "cooking", "poetry", "support", "travel", "insurance", "translation", "history")
BASE_MODELS = ("meadow/lark-1b", "quarry/flint-7b", "harbour/gull-2b", "harbour/gull-8b")


@dataclass(frozen=True)
class Call:
    query: str
    variables: dict[str, Any]
    buyer: Buyer

    def render(self) -> str:
        """The HTTP request, all ASCII. Who has no authentication takes the tenant from a header of its own."""
        body = json.dumps({"query": self.query, "variables": self.variables})
        return (
            "POST /graphql HTTP/1.1\r\nhost: localhost\r\n"
            "content-type: application/json\r\naccept: application/json\r\n"
            f"authorization: Bearer {self.buyer.api_key}\r\ntenant-id: {self.buyer.tenant_id}\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}"
        )


def workloads(installation: Installation) -> dict[str, list[Call]]:
    """By name. Only in `Q2 identical` are calls equal that are under way together; the others have to be answered one
    by one. Every call comes with an API key.
    """
    buyers = installation.buyers
    identifiers = random.Random(7).sample(installation.listing_ids, LISTINGS)  # noqa: S311 - the same every time
    listings = [{"id": f"lst_{identifier.hex}"} for identifier in identifiers]
    pages = [{"first": first} for first in PAGES]
    searches = [{"text": word, "baseModel": model, "first": 50} for word in WORDS for model in BASE_MODELS]

    def calls(query: str, variables: list[dict[str, Any]], count: int) -> list[Call]:
        return [Call(query, variables[index % len(variables)], buyers[index % len(buyers)]) for index in range(count)]

    all_pairs = len(PAGES) * len(buyers)
    return {
        "Q1 listing": calls(LISTING, listings, LISTINGS),
        "Q2 newest": calls(NEWEST, pages, all_pairs),
        "Q2 identical": calls(NEWEST, [{"first": 20}], 1),
        "Q3 search": calls(SEARCH, searches, all_pairs),
        "Q4 tenant": calls(DEPLOYMENTS, [{"first": 20}], len(buyers)),
        "Q5 typename": calls(TYPENAME, [{}], len(buyers)),
        "Q2 fallback": calls(MIXED, pages, all_pairs),
    }
