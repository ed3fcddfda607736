"""Stripe's error shapes.

StripeFault                 what every refusal has in common: a status and an `error` object
├── InvalidRequest          400, invalid_request_error
│   ├── UnknownParameters   parameter_unknown
│   ├── MissingParameter    parameter_missing
│   └── ResourceMissing     resource_missing; 404 when the URL names it, 400 when a parameter does
├── Unauthenticated         401
├── AccountForbidden        403, account_invalid
├── UnknownUrl              404
├── CardDeclined            402, card_error; what the attempt changed is kept
├── IdempotencyMismatch     400, idempotency_error
└── IdempotencyKeyInUse     409, idempotency_key_in_use
"""

from collections.abc import Sequence
from typing import Any

Document = dict[str, Any]


class StripeFault(Exception):
    """A request that is answered with an error.

    `keeps_changes` is true for errors that belong to the business itself: a decline is recorded on the payment
    intent, so its transaction commits. Every other error rolls back.
    """

    status = 400
    type = "invalid_request_error"
    code: str | None = None
    keeps_changes = False

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.code
        self.extra = extra

    def body(self) -> Document:
        """The response body: `{"error": {type, message, code?, param?, doc_url?, ...}}`."""
        error: Document = {"message": self.message, "type": self.type}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        if self.param is not None:
            error["param"] = self.param
        return {"error": error | self.extra}


class InvalidRequest(StripeFault):
    """A parameter has the wrong form, or the request contradicts the state of the resource."""


class UnknownParameters(InvalidRequest):
    code = "parameter_unknown"

    def __init__(self, names: Sequence[str]) -> None:
        noun = "parameter" if len(names) == 1 else "parameters"
        super().__init__(f"Received unknown {noun}: {', '.join(names)}", param=names[0])


class MissingParameter(InvalidRequest):
    code = "parameter_missing"

    def __init__(self, name: str) -> None:
        super().__init__(f"Missing required param: {name}.", param=name)


class ResourceMissing(InvalidRequest):
    """`in_url` tells a missing resource that the URL names (404) from one that a parameter refers to (400)."""

    code = "resource_missing"

    def __init__(self, noun: str, resource_id: str, *, param: str, in_url: bool) -> None:
        super().__init__(f"No such {noun}: '{resource_id}'", param=param)
        self.status = 404 if in_url else 400


class Unauthenticated(StripeFault):
    status = 401


class AccountForbidden(StripeFault):
    status = 403
    code = "account_invalid"


class UnknownUrl(StripeFault):
    status = 404

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"Unrecognized request URL ({method}: {path}). The sandbox simulates a part of Stripe's API.")


class CardDeclined(StripeFault):
    status = 402
    type = "card_error"
    code = "card_declined"
    keeps_changes = True


class IdempotencyMismatch(StripeFault):
    type = "idempotency_error"

    def __init__(self, key: str) -> None:
        super().__init__(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. "
            f"Try using a key other than '{key}' if you meant to execute a different request."
        )


class IdempotencyKeyInUse(StripeFault):
    status = 409
    code = "idempotency_key_in_use"

    def __init__(self, key: str) -> None:
        super().__init__(
            "There is currently another in-progress request using this Idempotent Key (that probably means you "
            f"submitted twice, and the other request is still going through): {key}. Please try again later."
        )
