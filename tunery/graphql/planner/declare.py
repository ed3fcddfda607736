"""How a GraphQL type says where its rows are: once, beside its fields.

    @planned(models.Listing, public=models.published_listings, kind="listing", access=READ, description="…")
    class Listing:
        id: strawberry.ID = global_id("listing")
        name: str = column(description="…")
        seller: Seller = one(lambda listing, seller: seller.tenant_id == listing.tenant_id, description="…")

    @root(Connection[Listing], access=PUBLIC, order=NEWEST, description="…")
    def listings(listing: Row, text: str | None = None) -> Conditions:
        yield …

A field without an expression is the column of its name. Relations say how the two rows belong together. Every mapped
type is read through row-level security; under a public root through its `public` selectable, where it has one.
Roots ask for their own permission, whatever they lead to; `node` asks for the type's.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, TypeVar, cast, dataclass_transform, get_args, get_origin, get_type_hints
from uuid import UUID

import strawberry
from sqlalchemy import BigInteger, Boolean, ColumnElement, FromClause, Text, Uuid, literal_column

from tunery.core import ids
from tunery.core.database import CURRENT_TENANT, Table
from tunery.core.errors import InvalidInput
from tunery.graphql.access import Requires
from tunery.graphql.connections import Connection
from tunery.graphql.planner.mapping import (
    LARGEST_PAGE,
    METADATA,
    PAGE,
    Argument,
    Column,
    Conditions,
    Declared,
    Keyset,
    Many,
    Mapping,
    NodeRoot,
    On,
    One,
    Order,
    Reference,
    Root,
    Row,
)

__all__ = [
    "CALLER",
    "Conditions",
    "Order",
    "Row",
    "column",
    "connection",
    "global_id",
    "id_of",
    "many",
    "newest",
    "newest_number",
    "node_root",
    "one",
    "operation",
    "planned",
    "reference",
    "root",
    "text_up_to",
]

T = TypeVar("T")

CALLER = literal_column(f"(SELECT {CURRENT_TENANT})", Uuid())
"""The caller's tenant. Row-level security says the same, unless it lets other rows through, too: then roots say it
again, for the sake of what they mean and of the index on it.
"""


@dataclass_transform(field_specifiers=(strawberry.field,))
def planned(
    table: type[Table] | FromClause,
    *,
    description: str,
    public: FromClause | None = None,
    kind: str | None = None,
    access: str = "",
    when: tuple[str, object] | None = None,
) -> Callable[[type[T]], type[T]]:
    """Make a Strawberry type of the class, and map it to a table. Where `node` may find its rows, `kind` is that of
    their global ids and `access` the permission to read them so: both or neither.
    """
    selectable = table if isinstance(table, FromClause) else table.__table__

    def decorate(cls: type[T]) -> type[T]:
        made = strawberry.type(cls, description=description)
        shown = selectable if public is None else public
        made.__planned__ = Mapping(selectable, shown, kind, access, when)  # type: ignore[attr-defined]
        return made

    return decorate


def column(expression: Callable[[Row], ColumnElement[Any]] | None = None, *, description: str) -> Any:
    """The column of the field's name, or an SQL expression over the row."""
    return _field(Column(expression), description)


def global_id(kind: str, expression: Callable[[Row], ColumnElement[Any]] | None = None) -> Any:
    """The row's `id` (or another UUID) as clients see it."""
    return _field(Column(expression, kind), f"Opaque; begins with {ids.PREFIXES[kind]}_.")


def one(on: On, *, order: Order | None = None, description: str) -> Any:
    return _field(One(on, order), description)


def many(on: On, *, order: Order, description: str) -> Any:
    def arguments(first: First = PAGE) -> None: ...

    return _field(Many(on, order), description, arguments)


def connection(on: On, *, order: Order, description: str) -> Any:
    def arguments(first: FirstOrNone = None, after: After = None, last: Last = None, before: Before = None) -> None: ...

    return _field(Keyset(on, order), description, arguments)


# Strawberry reads what stands around an argument's type, not what stands in it: `Annotated[…] | None` says nothing.
_FIRST = strawberry.argument(description=f"From the beginning, 1 to {LARGEST_PAGE}; {PAGE} when absent.")
First = Annotated[int, _FIRST]
FirstOrNone = Annotated[int | None, _FIRST]
Last = Annotated[int | None, strawberry.argument(description=f"From the end, 1 to {LARGEST_PAGE}.")]
After = Annotated[str | None, strawberry.argument(description="A cursor: the page begins behind it.")]
Before = Annotated[str | None, strawberry.argument(description="A cursor: the page ends before it.")]


def newest(row: Row) -> Sequence[ColumnElement[Any]]:
    """By the id: UUIDv7 rises with time."""
    return [row.id.desc()]


def newest_number(version: Row) -> Sequence[ColumnElement[Any]]:
    return [version.number.desc()]


def id_of(kind: str) -> Argument:
    """For `Annotated`: the argument is a global id; SQL gets its UUID's digits."""
    return Argument(partial(ids.digits_of, kind), Uuid(), kind)


def text_up_to(length: int, noun: str, field_name: str, *, blank_is_absent: bool = False) -> Argument:
    """For `Annotated`: the argument is text of bounded length."""

    def parse(value: str) -> str:
        if len(value) > length or "\0" in value:
            raise InvalidInput(f"{noun} has up to {length} characters, NUL not among them", field=field_name)
        return value

    return Argument(parse, Text(), blank_is_absent=blank_is_absent)


def root(
    kind: Any, *, access: str, description: str, order: Order | None = None
) -> Callable[[Callable[..., Conditions]], Any]:
    """A root field. `kind` is its GraphQL type: `T | None`, `T`, `list[T]` or `Connection[T]`; the function gets the
    row and the arguments as SQL (None: not given), and returns the conditions.
    """

    def decorate(where: Callable[..., Conditions]) -> Any:
        hints = get_type_hints(where, include_extras=True)
        parameters = list(inspect.signature(where).parameters.values())[1:]
        arguments = {parameter.name: _argument(parameter.name, hints[parameter.name]) for parameter in parameters}
        signature = [
            parameter.replace(annotation=_graphql_annotation(hints[parameter.name])) for parameter in parameters
        ]
        if get_origin(kind) is list:
            signature.append(inspect.Parameter("first", KEYWORD, default=PAGE, annotation=First))
        elif get_origin(kind) is Connection:
            paging = {"first": FirstOrNone, "after": After, "last": Last, "before": Before}
            signature += [
                inspect.Parameter(name, KEYWORD, default=None, annotation=annotation)
                for name, annotation in paging.items()
            ]

        def resolver() -> None: ...

        resolver.__name__ = where.__name__
        resolver.__module__ = where.__module__
        resolver.__signature__ = inspect.Signature(signature, return_annotation=kind)  # type: ignore[attr-defined]
        resolver.__annotations__ = {parameter.name: parameter.annotation for parameter in signature} | {"return": kind}
        return _field(Root(where, arguments, order), description, resolver, access)

    return decorate


KEYWORD = inspect.Parameter.KEYWORD_ONLY


def node_root(resolver: Callable[..., Any], *, access: str, description: str) -> Any:
    """`node` or `nodes`: the resolver carries the arguments alone."""
    return _field(NodeRoot(), description, resolver, access)


def operation(*, access: str, description: str, work: int = 0) -> Callable[[Callable[..., Any]], Any]:
    """A hand-written root field: query, mutation or subscription. It costs `work` points beside its objects."""

    def decorate(resolver: Callable[..., Any]) -> Any:
        kind = strawberry.subscription if inspect.isasyncgenfunction(resolver) else strawberry.field
        return kind(
            resolver,
            description=_documented(description, access),
            directives=[Requires(permission=access)],
            metadata={METADATA: Declared(permission=access, work=work)},
        )

    return decorate


def reference(_kind: type[T], identifier: UUID, *, tenant_id: UUID | None = None) -> T:
    """In place of a `kind` in a mutation's payload: the planner selects it after the commit, as the caller or as
    `tenant_id`. The cast is the one lie: graphql-core, not the caller, gets to see what this is.
    """
    return cast(T, Reference(identifier, tenant_id))  # noqa: TC006


def _field(
    source: Column | One | Many | Keyset | Root | NodeRoot,
    description: str,
    resolver: Callable[..., Any] | None = None,
    permission: str = "",
) -> Any:
    return strawberry.field(
        resolver=resolver,  # type: ignore[arg-type]  # carries the arguments alone; the planner answers
        description=_documented(description, permission) if permission else description,
        directives=[Requires(permission=permission)] if permission else [],
        metadata={METADATA: Declared(source, permission)},
    )


def _documented(description: str, permission: str) -> str:
    return f"{description}\n\nRequires: {permission}."


def _argument(name: str, hint: Any) -> Argument:
    given = [part for part in _parts(hint) if isinstance(part, Argument)]
    if given:
        return given[0]
    kinds = [part for part in _parts(hint) if part in {str, int, bool}]
    if kinds == [str]:
        return text_up_to(1000, name, name)
    if kinds == [int]:
        return Argument(int, BigInteger())
    if kinds == [bool]:
        return Argument(bool, Boolean())
    raise TypeError(f"argument {name}: say with Annotated how {hint} becomes SQL")


def _parts(hint: Any) -> list[Any]:
    """All that a hint is made of: `Annotated[str, x] | None` is str, x, NoneType."""
    parts = get_args(hint)
    return [inner for part in parts for inner in _parts(part)] if parts else [hint]


def _graphql_annotation(hint: Any) -> Any:
    """The hint without what only the planner understands."""
    if get_origin(hint) is Annotated:
        kind, *extras = get_args(hint)
        return kind if all(isinstance(extra, Argument) for extra in extras) else hint
    if type(None) in get_args(hint):
        [kind] = [_graphql_annotation(part) for part in get_args(hint) if part is not type(None)]
        if get_origin(kind) is not Annotated:
            return kind | None
        of, *extras = get_args(kind)
        return Annotated[(of | None, *extras)]
    return hint
