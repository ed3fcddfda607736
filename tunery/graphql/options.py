"""What an operator may choose of `/graphql`."""

from dataclasses import dataclass, field

from tunery.graphql.limits import Limits

TENANT_FACTOR = 2
"""A tenant may spend as much as so many of its API keys, and have as many subscriptions open."""


@dataclass(frozen=True)
class GraphQLOptions:
    """`development` opens what the public has no need of: introspection, GraphiQL, suggestions.

    Points are the rate limits' unit: one for each object that an answer may hold.
    """

    development: bool = False
    limits: Limits = field(default_factory=Limits)
    public_cache_seconds: int = 60
    points: int = 10_000
    points_per_second: float = 500
    anonymous_points: int = 2_000
    anonymous_points_per_second: float = 50
    subscriptions: int = 20
    """That an API key may have open at once, in each process. Those of a tenant: `TENANT_FACTOR` times as many."""
