"""Time as a dependency, so that tests travel instead of sleeping."""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present moment, in UTC."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class TravellingClock:
    """The system's clock, moved by as much as it was told to travel."""

    def __init__(self) -> None:
        self._distance = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._distance

    def travel(self, distance: timedelta) -> None:
        self._distance += distance
