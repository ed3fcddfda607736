"""The parameters an operation takes: declared once per operation, checked before it runs.

A declaration is a mapping of names to kinds (`{"email": String(), "line_items": Array(Mapping({...}))}`). Parsing
turns the strings of the form encoding into typed values and refuses what Stripe refuses, in Stripe's words.
"""

import re
from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from typing import Any, Protocol

from tunery.billing.sandbox.currencies import CURRENCIES
from tunery.billing.sandbox.errors import InvalidRequest, MissingParameter, UnknownParameters
from tunery.billing.sandbox.form_encoding import Raw

MAX_INTEGER = 2**63 - 1


class Kind(Protocol):
    """One type of parameter."""

    @property
    def required(self) -> bool: ...

    def parse(self, raw: Raw, name: str) -> Any:
        """Gives the typed value; `name` is the full name (`line_items[0][quantity]`) for the error."""
        ...


def parse_parameters(declared: MappingType[str, Kind], raw: MappingType[str, Raw], prefix: str = "") -> dict[str, Any]:
    """Parses what was sent; a name that was not sent is absent from the result, an unset one (`""`) is None.

    Raises:
        UnknownParameters: names that are not declared, before any value is looked at.
        MissingParameter: a required one was not sent.
        InvalidRequest: a value of the wrong form.
    """

    def full(name: str) -> str:
        return f"{prefix}[{name}]" if prefix else name

    unknown = [full(name) for name in raw if name not in declared]
    if unknown:
        raise UnknownParameters(unknown)
    for name, kind in declared.items():
        if kind.required and name not in raw:
            raise MissingParameter(full(name))
    return {name: declared[name].parse(value, full(name)) for name, value in raw.items()}


@dataclass(frozen=True, kw_only=True)
class String:
    """Text of at most `max_length` characters; `""` unsets it where that is allowed."""

    required: bool = False
    unsettable: bool = True
    max_length: int = 5000
    choices: tuple[str, ...] = ()

    def parse(self, raw: Raw, name: str) -> str | None:
        if not isinstance(raw, str):
            raise InvalidRequest(f"Invalid string: {name} must be a string.", param=name)
        if raw == "":
            if self.required or not self.unsettable:
                raise InvalidRequest(
                    f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a "
                    f"parameter; however '{name}' cannot be unset. You should remove '{name}' from your request or "
                    "supply a non-empty value.",
                    param=name,
                    code="parameter_invalid_empty",
                )
            return None
        if len(raw) > self.max_length:
            raise InvalidRequest(
                f"Invalid string: {name} is longer than {self.max_length} characters.",
                param=name,
                code="parameter_invalid_string_too_long",
            )
        if self.choices and raw not in self.choices:
            raise InvalidRequest(f"Invalid {name}: must be one of {', '.join(self.choices)}", param=name)
        return raw


@dataclass(frozen=True, kw_only=True)
class Url:
    required: bool = False

    def parse(self, raw: Raw, name: str) -> str | None:
        value = String(required=self.required).parse(raw, name)
        if value is not None and not re.match(r"https?://[^\s/?#]+", value):
            raise InvalidRequest("Not a valid URL", param=name, code="url_invalid")
        return value


@dataclass(frozen=True, kw_only=True)
class Currency:
    """A three-letter code that Stripe settles; given back in lower case."""

    required: bool = False

    def parse(self, raw: Raw, name: str) -> str:
        value = str(String(required=True).parse(raw, name)).lower()
        if value not in CURRENCIES:
            raise InvalidRequest(
                f"Invalid currency: {value}. Stripe currently supports these currencies: "
                f"{', '.join(sorted(CURRENCIES))}",
                param=name,
            )
        return value


@dataclass(frozen=True, kw_only=True)
class Integer:
    required: bool = False
    minimum: int = -MAX_INTEGER
    maximum: int = MAX_INTEGER

    def parse(self, raw: Raw, name: str) -> int:
        if not isinstance(raw, str) or not re.fullmatch(r"-?[0-9]{1,19}", raw):
            raise InvalidRequest(f"Invalid integer: {raw}", param=name, code="parameter_invalid_integer")
        value = int(raw)
        if value < self.minimum:
            raise InvalidRequest(
                f"This value must be greater than or equal to {self.minimum}.",
                param=name,
                code="parameter_invalid_integer",
            )
        if value > self.maximum:
            raise InvalidRequest(
                f"This value must be less than or equal to {self.maximum}.",
                param=name,
                code="parameter_invalid_integer",
            )
        return value


@dataclass(frozen=True, kw_only=True)
class DecimalString:
    """A decimal of at most 12 places that Stripe keeps as text (`unit_amount_decimal`)."""

    required: bool = False

    def parse(self, raw: Raw, name: str) -> str:
        if not isinstance(raw, str) or not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,12})?", raw):
            raise InvalidRequest(f"Invalid decimal: {raw}", param=name, code="parameter_invalid_decimal")
        return raw


@dataclass(frozen=True, kw_only=True)
class Boolean:
    required: bool = False

    def parse(self, raw: Raw, name: str) -> bool:
        if raw == "true":
            return True
        if raw == "false":
            return False
        raise InvalidRequest(f"Invalid boolean: {raw}", param=name)


@dataclass(frozen=True, kw_only=True)
class Array:
    """`name[0]=..&name[1]=..` or `name[]=..`; an empty string is the SDK's way to send an empty array."""

    item: Kind
    required: bool = False
    max_length: int = 100

    def parse(self, raw: Raw, name: str) -> list[Any]:
        if raw == "" and not self.required:
            return []
        if not isinstance(raw, dict) or not raw or not all(re.fullmatch(r"[0-9]{1,5}", key) for key in raw):
            raise InvalidRequest(f"Invalid array: {name} must be a non-empty array.", param=name)
        if len(raw) > self.max_length:
            raise InvalidRequest(f"Invalid array: {name} holds more than {self.max_length} items.", param=name)
        return [self.item.parse(raw[key], f"{name}[{key}]") for key in sorted(raw, key=int)]


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """An object with declared fields; `""` unsets it."""

    fields: MappingType[str, Kind]
    required: bool = False

    def parse(self, raw: Raw, name: str) -> dict[str, Any] | None:
        if raw == "" and not self.required:
            return None
        if not isinstance(raw, dict):
            raise InvalidRequest("Invalid object", param=name)
        return parse_parameters(self.fields, raw, name)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """At most 50 text pairs. An empty value deletes its key, an empty whole deletes all: see `merge_metadata`."""

    required: bool = False

    def parse(self, raw: Raw, name: str) -> dict[str, str | None] | None:
        if raw == "":
            return None
        if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
            raise InvalidRequest(f"Invalid object: {name} must map text to text.", param=name)
        if len(raw) > 50:  # noqa: PLR2004 - Stripe's documented limit, as are 40 and 500 below
            raise InvalidRequest("You may only specify up to 50 metadata keys.", param=name)
        for key, value in raw.items():
            if len(key) > 40 or len(value) > 500:  # noqa: PLR2004
                raise InvalidRequest(
                    "Metadata keys can have up to 40 characters and values up to 500.", param=f"{name}[{key}]"
                )
        return {key: str(value) or None for key, value in raw.items()}


def merge_metadata(current: dict[str, str], sent: dict[str, str | None] | None) -> dict[str, str]:
    """What `metadata` becomes when `sent` is applied: keys merge, None deletes a key, None as a whole deletes all."""
    if sent is None:
        return {}
    return {key: value for key, value in (current | sent).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class TimeRange:
    """`created=1700000000`, or `created[gte]=..` with gt, gte, lt, lte. Gives the bounds by operator."""

    required: bool = False

    def parse(self, raw: Raw, name: str) -> dict[str, int]:
        if isinstance(raw, str):
            return {"eq": Integer().parse(raw, name)}
        return parse_parameters({bound: Integer() for bound in ("gt", "gte", "lt", "lte")}, raw, name)


ADDRESS = Mapping(
    fields={part: String() for part in ("city", "country", "line1", "line2", "postal_code", "state")},
)
EXPAND = Array(item=String(unsettable=False))
