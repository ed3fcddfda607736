"""What can go wrong and be told. Rooms derive their own errors from these; edges turn them into
`userErrors` (GraphQL) or the protocol's own shape (REST).

    DomainError
    ├── InvalidInput        a value breaks a rule that the message states
    ├── NotFound            absent, or another tenant's: the answer is the same
    ├── Unauthenticated     no key, or one that is unknown, expired or revoked
    ├── Forbidden           known, but not allowed
    ├── Conflict            true at another moment, not now
    ├── InsufficientFunds   the balance does not cover a reservation
    ├── Unavailable         a part that is needed does not answer; try again
    └── Damaged             what is stored isn't what was stored: the operator has to look
"""

from typing import ClassVar


class DomainError(Exception):
    """An error that its reader can act on: a stable code, a sentence, and the input field it speaks of."""

    code: ClassVar[str] = "INVALID"

    def __init__(self, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.error_code = code or self.code


class InvalidInput(DomainError):
    code = "INVALID_INPUT"


class NotFound(DomainError):
    code = "NOT_FOUND"

    def __init__(self, what: str, identifier: str, *, field: str | None = None) -> None:
        super().__init__(f"there is no {what} {identifier!r}", field=field)


class Unauthenticated(DomainError):
    code = "UNAUTHENTICATED"


class Forbidden(DomainError):
    code = "FORBIDDEN"


class Conflict(DomainError):
    code = "CONFLICT"


class InsufficientFunds(DomainError):
    code = "INSUFFICIENT_FUNDS"


class Unavailable(DomainError):
    code = "UNAVAILABLE"


class Damaged(DomainError):
    code = "DAMAGED"
