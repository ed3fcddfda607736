"""Relay connections with keyset cursors (https://relay.dev/graphql/connections.htm), answered by the planner."""

from typing import Generic, TypeVar

import strawberry

T = TypeVar("T")


@strawberry.type(description="Where a page lies in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether there are entries behind this page.")
    has_previous_page: bool = strawberry.field(description="Whether there are entries before this page.")
    start_cursor: str | None = strawberry.field(description="Of the first entry; null: the page is empty.")
    end_cursor: str | None = strawberry.field(description="Of the last entry: give it as `after` for the next page.")


@strawberry.type(description="An entry of a list, and where it stands there.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(description="Opaque; stays valid when entries are added.")
    node: T = strawberry.field(description="The entry itself.")


@strawberry.type(description="One page of a list.")
class Connection(Generic[T]):
    edges: list[Edge[T]] = strawberry.field(description="The page's entries with their cursors.")
    nodes: list[T] = strawberry.field(description="The page's entries alone.")
    page_info: PageInfo = strawberry.field(description="Where the page lies in the list.")
    total_count: int = strawberry.field(description="Entries of the whole list. Counted only when asked for.")
