"""What a resource module declares: its type, its operations, and the generic operations most of them share."""

import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunery.billing.sandbox.errors import Document, InvalidRequest, ResourceMissing
from tunery.billing.sandbox.parameters import EXPAND, Integer, Kind, String
from tunery.billing.sandbox.storage import Condition

if TYPE_CHECKING:
    from tunery.billing.sandbox.unit_of_work import UnitOfWork

_ALPHABET = string.ascii_letters + string.digits
_MAX_PAGE = 100


@dataclass(frozen=True)
class Call:
    """One parsed request: the ids in its URL and its typed parameters."""

    path: Mapping[str, str]
    params: dict[str, Any]


Handler = Callable[["UnitOfWork", Call], Document]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method on one URL. The handler runs in a transaction and may raise any StripeFault."""

    method: str
    path: str
    handle: Handler
    parameters: Mapping[str, Kind] = field(default_factory=dict)

    def accepted(self) -> dict[str, Kind]:
        return {**self.parameters, "expand": EXPAND}


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """One type of resource.

    `noun` and `url_param` are the words of Stripe's "No such customer: 'cus_1'" and the `param` it names. `expandable`
    maps a field that holds an id to the type it refers to; `includable` maps a field that is absent until it is asked
    for to the function that computes it. `timers` are what happens to a resource when time comes (`kind` -> function).
    """

    object: str
    noun: str
    url_param: str = "id"
    operations: tuple[Operation, ...] = ()
    expandable: Mapping[str, str] = field(default_factory=dict)
    includable: Mapping[str, Callable[["UnitOfWork", Document], Document]] = field(default_factory=dict)
    timers: Mapping[str, Callable[["UnitOfWork", str], None]] = field(default_factory=dict)


def new_id(prefix: str, length: int = 24) -> str:
    """A random id as Stripe writes them: `new_id("cus_", 14)`."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))


def retrieve(object_name: str, url: str, key: str) -> Operation:
    """`GET url`, where `key` is the URL's placeholder: the resource, or its deleted form."""

    def handle(uow: "UnitOfWork", call: Call) -> Document:
        record = uow.read(object_name, call.path[key], in_url=True)
        return deleted_form(record.document) if record.deleted else record.document

    return Operation(method="GET", path=url, handle=handle)


def deleted_form(document: Document) -> Document:
    """What remains of a deleted resource."""
    return {"id": document["id"], "object": document["object"], "deleted": True}


@dataclass(frozen=True)
class Filter:
    """A list parameter that compares with the document's field `path` (the parameter's own name by default)."""

    kind: Kind
    path: str | None = None


def listing(object_name: str, url: str, filters: Mapping[str, Filter]) -> Operation:
    """`GET url`: newest first, `limit`, `starting_after`, `ending_before`, and the given filters."""

    def handle(uow: "UnitOfWork", call: Call) -> Document:
        return paginate(uow, object_name, url, call.params, conditions=_conditions(filters, call.params))

    parameters = {name: each.kind for name, each in filters.items()}
    return Operation(method="GET", path=url, handle=handle, parameters=PAGE_PARAMETERS | parameters)


PAGE_PARAMETERS: dict[str, Kind] = {
    "limit": Integer(minimum=1, maximum=_MAX_PAGE),
    "starting_after": String(unsettable=False),
    "ending_before": String(unsettable=False),
}


def paginate(
    uow: "UnitOfWork",
    object_name: str,
    url: str,
    params: Mapping[str, Any],
    *,
    conditions: list[Condition] | None = None,
    parent: str | None = None,
    oldest_first: bool = False,
) -> Document:
    """One page: `{"object": "list", "data", "has_more", "url"}`; `oldest_first` for line items, which keep order.

    Raises:
        ResourceMissing: a cursor names no resource of this type.
        InvalidRequest: both cursors were sent.
    """
    if "starting_after" in params and "ending_before" in params:
        raise InvalidRequest("You may only specify one of these parameters: starting_after, ending_before.")
    backwards = "ending_before" in params
    bounds: dict[str, int] = {}
    for cursor in ("starting_after", "ending_before"):
        if cursor in params:
            record = uow.store.read(uow.account, object_name, params[cursor])
            if record is None:
                raise ResourceMissing(uow.types[object_name].noun, params[cursor], param=cursor, in_url=False)
            bounds["older_than" if backwards == oldest_first else "newer_than"] = record.sequence
    limit = params.get("limit", 10)
    records = uow.store.select(
        uow.account,
        object_name,
        conditions or [],
        parent=parent,
        limit=limit + 1,
        # The page before a cursor is read from the cursor outwards and turned round afterwards.
        oldest_first=oldest_first != backwards,
        **bounds,
    )
    page = [record.document for record in records[:limit]]
    if backwards:
        page.reverse()
    return {"object": "list", "data": page, "has_more": len(records) > limit, "url": url}


def _conditions(filters: Mapping[str, Filter], params: Mapping[str, Any]) -> list[Condition]:
    conditions: list[Condition] = []
    for name, each in filters.items():
        value = params.get(name)
        if value is None:
            continue
        path = each.path or name
        if isinstance(value, dict):
            conditions.extend(Condition(path, operator, bound) for operator, bound in value.items())
        elif isinstance(value, list):
            conditions.append(Condition(path, "eq", tuple(value)))
        else:
            conditions.append(Condition(path, "eq", value))
    return conditions
