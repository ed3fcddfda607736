"""Faults that a test or a developer orders through `POST /_sandbox/faults`.

They are kept in memory: a restarted sandbox behaves.
"""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tunery.billing.sandbox.errors import Document, StripeFault

_RATE_LIMITED, _DECLINED, _UNAVAILABLE = 429, 402, 503


class InvalidFaults(ValueError):
    """The ordered faults have the wrong form; the message says which."""


class OrderedFailure(StripeFault):
    """An error response that was ordered, with the type Stripe sends for the status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"The sandbox was told to answer this request with {status}.")
        self.status = status
        if status == _RATE_LIMITED:
            self.code = "rate_limit"
        elif status == _DECLINED:
            self.type, self.code = "card_error", "card_declined"
        elif status >= 500:  # noqa: PLR2004
            self.type = "api_error"

    @property
    def was_executing(self) -> bool:
        """Whether the request had begun to execute, so that its idempotency key keeps this error.

        Stripe keeps even a 500 with the key; a rate limit or an unavailable server refuses before executing.
        """
        return self.status not in {_RATE_LIMITED, _UNAVAILABLE, 401, 403, 404, 409}


@dataclass
class RequestFault:
    """What happens to the next `times` requests whose path matches the pattern `path` (`/v1/refunds*`).

    `delay_ms` holds the request before it runs. `status` answers it without running it. `timeout_after_commit` runs
    and commits it, and then never answers: the client runs into its own timeout.
    """

    path: str
    method: str | None = None
    status: int | None = None
    timeout_after_commit: bool = False
    delay_ms: int = 0
    times: int = 1

    def matches(self, method: str, path: str) -> bool:
        return self.method in {None, method} and fnmatchcase(path, self.path)


@dataclass
class Faults:
    """`duplicate` delivers every event twice, `shuffle` in random order, `delay_ms` that much later."""

    duplicate: bool = False
    shuffle: bool = False
    delay_ms: int = 0
    fail_next: list[RequestFault] = field(default_factory=list)

    def replace(self, body: Any) -> None:
        """Replaces all faults by `{duplicate?, shuffle?, delay_ms?, fail_next?: [...]}`; `{}` removes them.

        Raises:
            InvalidFaults: the body has the wrong form; nothing was changed.
        """
        values = _checked(body, {"duplicate": bool, "shuffle": bool, "delay_ms": int, "fail_next": list}, "faults")
        kinds = {
            "path": str, "method": str, "status": int, "timeout_after_commit": bool, "delay_ms": int, "times": int,
        }  # fmt: skip
        rules = [RequestFault(**_checked(rule, kinds, "fail_next")) for rule in values.pop("fail_next", [])]
        for rule in rules:
            if not rule.path or (rule.status is None and not rule.timeout_after_commit and not rule.delay_ms):
                raise InvalidFaults("fail_next: give a path and one of status, timeout_after_commit, delay_ms")
            if rule.status is not None and not 400 <= rule.status <= 599:  # noqa: PLR2004
                raise InvalidFaults("fail_next: status must be between 400 and 599")
        self.duplicate = values.get("duplicate", False)
        self.shuffle = values.get("shuffle", False)
        self.delay_ms = values.get("delay_ms", 0)
        self.fail_next = rules

    def take(self, method: str, path: str) -> RequestFault | None:
        """The fault for this request, if one was ordered; each is used `times` times."""
        for rule in self.fail_next:
            if rule.matches(method, path):
                rule.times -= 1
                if rule.times <= 0:
                    self.fail_next.remove(rule)
                return rule
        return None

    def document(self) -> Document:
        return {
            "duplicate": self.duplicate,
            "shuffle": self.shuffle,
            "delay_ms": self.delay_ms,
            "fail_next": [vars(rule) for rule in self.fail_next],
        }


def _checked(body: Any, kinds: dict[str, type], what: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidFaults(f"{what} must be a JSON object")
    for name, value in body.items():
        if name not in kinds:
            raise InvalidFaults(f"{what}: unknown field {name}; known are {', '.join(kinds)}")
        # bool is an int to isinstance, and "delay_ms": true is a mistake.
        if type(value) is not kinds[name] or (isinstance(value, int) and value < 0):
            raise InvalidFaults(f"{what}: {name} must be a {kinds[name].__name__}, not negative")
    if "path" in kinds and "path" not in body:
        raise InvalidFaults(f"{what}: path is missing")
    return body.copy()
