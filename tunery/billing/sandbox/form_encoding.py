"""Stripe's form encoding: `line_items[0][price_data][currency]=usd` stands for nested objects and arrays."""

import re
from urllib.parse import parse_qsl

from tunery.billing.sandbox.errors import InvalidRequest

# What a body decodes to before any parameter's type is known: arrays are still objects with the keys "0", "1", ...
Raw = str | dict[str, "Raw"]

_NAME = re.compile(r"\A([^\[\]]+)((?:\[[^\[\]]*\])*)\Z")
_MAX_DEPTH = 12
_MAX_FIELDS = 2000


def decode_form(text: str) -> dict[str, Raw]:
    """Decodes a query string or a form body.

    `a[]=x` appends: it takes the next free index. A later value of the same name wins, as it does at Stripe.

    Raises:
        InvalidRequest: a malformed name, nesting deeper than 12, more than 2,000 fields, or a name that is used both
            for a value and for an object.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise InvalidRequest("Invalid request: the parameters could not be decoded.") from error
    decoded: dict[str, Raw] = {}
    for name, value in pairs:
        path = _path(name)
        place = decoded
        for key in path[:-1]:
            step = place.setdefault(key or str(len(place)), {})
            if isinstance(step, str):
                raise InvalidRequest(f"Invalid request: {name} is used as a value and as an object.", param=name)
            place = step
        last = path[-1] or str(len(place))
        if isinstance(place.get(last), dict):
            raise InvalidRequest(f"Invalid request: {name} is used as a value and as an object.", param=name)
        place[last] = value
    return decoded


def _path(name: str) -> list[str]:
    match = _NAME.match(name)
    if match is None:
        raise InvalidRequest(f"Invalid parameter name: {name}", param=name)
    path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
    if len(path) > _MAX_DEPTH:
        raise InvalidRequest(f"Invalid parameter name: {name} is nested too deeply.", param=name)
    return path
