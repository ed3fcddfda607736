"""What a type's declaration says, and how it is read off graphql-core's schema."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from graphql import GraphQLField, GraphQLList, GraphQLNonNull, GraphQLObjectType, get_named_type
from sqlalchemy import ColumnElement, FromClause
from sqlalchemy.types import TypeEngine

from tunery.graphql.access import PUBLIC
from tunery.graphql.connections import Connection

Row = Any
"""The columns of a row in SQL, as attributes."""

Conditions = Iterable[ColumnElement[bool]]
On = Callable[[Row, Row], ColumnElement[bool]]
Order = Callable[[Row], Sequence[ColumnElement[Any]]]

METADATA = "tunery"
PAGE = 20
LARGEST_PAGE = 100
MOST_ITEMS = "tunery_most"
"""A field's extension: how many entries its list may have, for the price."""
OF_PAGE = "tunery_of_page"
"""A field's extension: its list has as many entries as the field around it was asked for."""
WORK_POINTS = "tunery_work"
"""A field's extension: points beside those of its objects."""


@dataclass(frozen=True)
class Mapping:
    """Where a type's rows are. `when` is the column and value that tell it from its siblings under one abstract type;
    `kind` is that of its global ids, by which `node` finds it for who has the `permission`.
    """

    table: FromClause
    public: FromClause
    kind: str | None
    permission: str
    when: tuple[str, object] | None


@dataclass(frozen=True)
class Column:
    """A leaf. `expression` is None for the column of the field's name; `kind` makes a global id of it."""

    expression: Callable[[Row], ColumnElement[Any]] | None = None
    kind: str | None = None


@dataclass(frozen=True)
class One:
    """One row of another type. With `order` the first, without it there is no second."""

    on: On
    order: Order | None = None


@dataclass(frozen=True)
class Many:
    """Rows of another type, as many as argument `first` says."""

    on: On
    order: Order


@dataclass(frozen=True)
class Keyset:
    """Rows of another type as a connection. All of `order` point the same way, and no two rows are equal in it."""

    on: On
    order: Order


@dataclass(frozen=True)
class Argument:
    """What a client gives, what SQL gets: `parse` raises DomainError. `kind` is that of a global id."""

    parse: Callable[[Any], Any]
    type: TypeEngine[Any]
    kind: str | None = None
    permission: str = PUBLIC
    """SQL gets NULL from a caller without it."""
    blank_is_absent: bool = False


@dataclass(frozen=True)
class Root:
    """A root field. `order` is None when there is at most one row."""

    where: Callable[..., Conditions]
    arguments: dict[str, Argument]
    order: Order | None


@dataclass(frozen=True)
class NodeRoot:
    """`node` and `nodes`: the type is told by the id itself."""


@dataclass(frozen=True)
class Declared:
    """What a field's Strawberry metadata carries."""

    source: Column | One | Many | Keyset | Root | NodeRoot | None = None
    permission: str = ""
    """Of root fields, what they require."""
    most: int | None = None
    """Of lists without a page size: what to reserve for (see `cost_of`)."""
    of_page: bool = False
    """Of lists: they hold what the field around them was asked for."""
    work: int = 0
    """Of hand-written root fields: points for what the answer's objects don't show."""

    @property
    def public(self) -> bool:
        return self.permission == PUBLIC


@dataclass(frozen=True)
class Reference:
    """A row to be selected once it is known what of it the client wants."""

    id: UUID
    tenant_id: UUID | None = field(default=None)


def declared_of(definition: GraphQLField) -> Declared | None:
    """What the field's declaration said, if it has one."""
    strawberry_field = definition.extensions.get("strawberry-definition")
    return strawberry_field.metadata.get(METADATA) if strawberry_field is not None else None


def mapping_of(kind: GraphQLObjectType) -> Mapping | None:
    definition = kind.extensions.get("strawberry-definition")
    return getattr(definition.origin, "__planned__", None) if definition is not None else None


def when_of(kind: GraphQLObjectType) -> tuple[str, object]:
    mapping = mapping_of(kind)
    if mapping is None or mapping.when is None:
        raise TypeError(f"{kind} needs `when` to be told from its siblings")
    return mapping.when


def python_name(definition: GraphQLField) -> str:
    name: str = definition.extensions["strawberry-definition"].python_name
    return name


def is_connection(kind: Any) -> bool:
    return is_made_of(Connection, get_named_type(kind))


def is_made_of(generic: type, kind: Any) -> bool:
    """Whether a type of the schema is the generic one, for some type of ours."""
    definition = kind.extensions.get("strawberry-definition")
    concrete = getattr(definition, "concrete_of", None)
    return concrete is not None and concrete.origin is generic


def is_list(kind: Any) -> bool:
    return isinstance(kind.of_type if isinstance(kind, GraphQLNonNull) else kind, GraphQLList)
