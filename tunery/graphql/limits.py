"""What a document may ask for, checked before anything is executed."""

from dataclasses import dataclass

from graphql import DocumentNode, GraphQLError


@dataclass(frozen=True)
class Limits:
    """Of a document that is not a trusted one."""

    bytes: int = 20_000
    tokens: int = 2_000
    depth: int = 12
    aliases: int = 30
    directives: int = 30
    root_fields: int = 20
    nodes: int = 10_000


def check_size(text: str, limits: Limits) -> None:
    """Raises GraphQLError."""
    if len(text) > limits.bytes:
        raise GraphQLError(f"a document has up to {limits.bytes} characters")


def check_limits(document: DocumentNode, limits: Limits) -> list[GraphQLError]:
    return []
