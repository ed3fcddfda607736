"""What an operation requires of its caller: a permission, or nothing."""

import strawberry
from graphql import GraphQLField
from strawberry.schema_directive import Location

PUBLIC = "public"
"""Needs no API key, and answers everybody alike."""

AUTHENTICATED = "authenticated"
"""Any API key will do: what it may not see stays out of sight by itself."""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION], description="The permission that a caller needs; public: none."
)
class Requires:
    permission: str


def is_public(definition: GraphQLField) -> bool:
    """Whether a root field requires nothing."""
    written = definition.extensions.get("strawberry-definition")
    return written is not None and Requires(permission=PUBLIC) in written.directives
