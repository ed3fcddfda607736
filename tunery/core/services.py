"""What a process is made of, looked up by type: the application puts the parts in, use cases take them out."""

from typing import TypeVar, cast

T = TypeVar("T")


class Services:
    """One instance per process; immutable after the start."""

    def __init__(self) -> None:
        self._parts: dict[type, object] = {}

    def add(self, kind: type[T], part: T) -> None:
        self._parts[kind] = part

    def get(self, kind: type[T]) -> T:
        """The part of that type. Raises LookupError when the process was put together without it."""
        try:
            return cast("T", self._parts[kind])
        except KeyError:
            raise LookupError(f"this process has no {kind.__name__}") from None
