"""JSON of which equal values give equal bytes: what is hashed and signed."""

import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """JSON with keys sorted by code point, no white space, UTF-8, no NaN or infinity, floats as Python's shortest form.

    Equal values give equal bytes in any Python. Other languages check the digest of the bytes they received instead
    of writing them anew: RFC 8785 writes some floats differently.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
