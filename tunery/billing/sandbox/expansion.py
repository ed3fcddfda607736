"""`expand[]`: ids in a response become the resources they name."""

from collections.abc import Sequence
from copy import deepcopy

from tunery.billing.sandbox.errors import Document, InvalidRequest
from tunery.billing.sandbox.resource import deleted_form
from tunery.billing.sandbox.unit_of_work import UnitOfWork

_MAX_DEPTH = 4


def expand(uow: UnitOfWork, document: Document, paths: Sequence[str]) -> Document:
    """A copy of the document in which each path (`data.payment_intent.latest_charge`) is expanded.

    Raises:
        InvalidRequest: a path is deeper than four fields, or names a field that cannot be expanded.
    """
    if not paths:
        return document
    expanded = deepcopy(document)
    for path in paths:
        fields = path.split(".")
        if len(fields) > _MAX_DEPTH:
            raise InvalidRequest("You cannot expand more than 4 levels of a property", param="expand")
        _expand_at(uow, expanded, fields, path)
    return expanded


def _expand_at(uow: UnitOfWork, document: Document, fields: list[str], path: str) -> None:
    name, rest = fields[0], fields[1:]
    if document.get("object") == "list" and name == "data":
        if not rest:
            raise _refusal(path)
        for element in document["data"]:
            _expand_at(uow, element, rest, path)
        return
    kind = uow.types.get(document.get("object", ""))
    if kind is not None and name in kind.includable:
        if name not in document:
            document[name] = deepcopy(kind.includable[name](uow, document))
    elif kind is not None and name in kind.expandable:
        value = document.get(name)
        if isinstance(value, str):
            record = uow.read(kind.expandable[name], value)
            document[name] = deleted_form(record.document) if record.deleted else record.document
    elif not rest or not isinstance(document.get(name), dict):
        raise _refusal(path)
    if rest and isinstance(document[name], dict):
        _expand_at(uow, document[name], rest, path)


def _refusal(path: str) -> InvalidRequest:
    return InvalidRequest(f"This property cannot be expanded ({path}).", param="expand")
