"""What a request costs beside its answer's objects (`cost`), which buckets it is paid from, and how that is told."""

from ipaddress import IPv6Address, IPv6Network

from tunery.core.identity import Identity
from tunery.graphql.cost import Price
from tunery.graphql.options import TENANT_FACTOR, GraphQLOptions
from tunery.graphql.rate_limits import Bucket, Taken
from tunery.graphql.requests import Header

READING_POINTS = 10
"""For each begun READING_CHARACTERS of a document that this process does not know, and of one that it plans again for
other variables: parsing, validating and planning take longer than most answers.
"""
READING_CHARACTERS = 1_000
UNKNOWN_KEY_POINTS = 5
"""For asking the database who presents an API key, unless it is a valid one."""


def reading_points(text: str) -> int:
    return READING_POINTS * (1 + len(text) // READING_CHARACTERS)


def buckets_of(identity: Identity | None, client: str, options: GraphQLOptions) -> tuple[Bucket, ...]:
    """What a request is paid from: its API key's and its tenant's bucket, or without a key that of its address."""
    if identity is None:
        name = f"address:{_network(client)}"
        return (Bucket(name, options.anonymous_points, options.anonymous_points_per_second),)
    points, per_second = options.points, options.points_per_second
    tenant = f"{{{identity.tenant_id}}}"  # in braces: a Valkey cluster keeps both on one node
    return (
        Bucket(f"key:{tenant}:{identity.api_key_id}", points, per_second),
        Bucket(f"tenant:{tenant}", TENANT_FACTOR * points, TENANT_FACTOR * per_second),
    )


def lookup_of_key(client: str, options: GraphQLOptions) -> tuple[Bucket, int]:
    """What looking up an API key is paid from, and its points. Queries without a key leave that bucket alone."""
    points, per_second = options.anonymous_points, options.anonymous_points_per_second
    return Bucket(f"lookups:{_network(client)}", points, per_second), min(UNKNOWN_KEY_POINTS, points)


def _network(client: str) -> str:
    """An IPv6 client has a whole /64 to call from. A socket for both kinds shows IPv4 as ::ffff:192.0.2.1."""
    if ":" not in client or "%" in client:
        return client
    address = IPv6Address(client)
    return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))


def objects_in(data: bytes) -> int:
    """Those of JSON text, without the one around it all. A brace in a text counts, too."""
    # `data.count(b"{")` looks at byte after byte: three times as slow where braces are as rare as in most answers.
    return len(data) - len(data.replace(b"{", b"")) - 1


def actual_cost(objects: int, requested: Price) -> int:
    """Of what was reserved: the objects that came, and never more."""
    return min(requested, max(1, objects + requested.unseen))


def cost_extension(requested: int, actual: int, remaining: int, limit: int) -> bytes:
    """The end of an answer."""
    return b',"extensions":{"cost":{"requested":%d,"actual":%d,"remaining":%d,"limit":%d}}}' % (
        requested,
        actual,
        remaining,
        limit,
    )


def rate_headers(taken: Taken, remaining: int) -> tuple[Header, ...]:
    return (
        (b"x-ratelimit-limit", b"%d" % taken.limit),
        (b"x-ratelimit-remaining", b"%d" % remaining),
        (b"x-ratelimit-reset", b"%d" % taken.reset_seconds),
    )
