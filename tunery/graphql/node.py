"""Any object by its global id (https://graphql.org/learn/global-object-identification/)."""

from typing import Annotated

import strawberry

from tunery.graphql.access import AUTHENTICATED
from tunery.graphql.planner.declare import node_root
from tunery.graphql.planner.mapping import LARGEST_PAGE


@strawberry.interface(description="Whatever has an id.")
class Node:
    id: strawberry.ID = strawberry.field(description="Opaque; the same object has the same id everywhere.")


def _node(id: Annotated[strawberry.ID, strawberry.argument(description="Of any kind of object.")]) -> Node | None:  # noqa: A002
    raise NotImplementedError


def _nodes(
    ids: Annotated[list[strawberry.ID], strawberry.argument(description=f"Up to {LARGEST_PAGE}.")],
) -> list[Node | None]:
    raise NotImplementedError


@strawberry.type
class NodeQuery:
    node: Node | None = node_root(
        _node,
        access=AUTHENTICATED,
        description="The object of that id; null when there is none that the caller may see.",
    )
    nodes: list[Node | None] = node_root(
        _nodes,
        access=AUTHENTICATED,
        description="The objects of these ids, in their order; null in the place of each that is not to be seen.",
    )
