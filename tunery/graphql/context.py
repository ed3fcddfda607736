"""What every resolver gets: the process's parts and who is calling."""

from dataclasses import dataclass
from typing import TypeVar

import strawberry

from tunery.core.database import Database
from tunery.core.errors import Unauthenticated
from tunery.core.identity import Identity
from tunery.core.services import Services

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """One request. `refusal` says why there is no identity; `signUp` alone works without one."""

    services: Services
    request_id: str
    identity: Identity | None
    refusal: Unauthenticated | None

    @property
    def caller(self) -> Identity:
        """Who is calling. Raises Unauthenticated."""
        if self.identity is None:
            raise self.refusal or Unauthenticated("send your API key: Authorization: Bearer tnr_…")
        return self.identity

    @property
    def database(self) -> Database:
        return self.services.get(Database)

    def get(self, kind: type[T]) -> T:
        return self.services.get(kind)


Info = strawberry.Info[Context, None]
