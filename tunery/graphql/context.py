"""What every resolver gets: the process's parts and who is calling."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import strawberry
from graphql import GraphQLResolveInfo

from tunery.core.database import Database
from tunery.core.errors import Forbidden, Unauthenticated
from tunery.core.identity import Identity
from tunery.core.services import Services
from tunery.graphql.access import PUBLIC

T = TypeVar("T")


@dataclass(slots=True)
class Context:
    """One request. `refusal` says why there is no identity; `signUp` alone works without one."""

    services: Services
    request_id: str
    identity: Identity | None
    refusal: Unauthenticated | None
    authorization: str | None = None
    """What the identity was made of."""
    plans: dict[Any, Any] = field(default_factory=dict)
    """Of the operation's fields, for the shape that its variables have."""

    @property
    def caller(self) -> Identity:
        """Who is calling. Raises Unauthenticated."""
        if self.identity is None:
            raise self.refusal or Unauthenticated("send your API key: Authorization: Bearer tnr_…")
        return self.identity

    def require(self, permission: str) -> None:
        """Raises Unauthenticated, Forbidden unless the caller has the permission."""
        if permission != PUBLIC and not self.caller.may(permission):
            raise Forbidden(f"this takes the permission {permission}")

    @property
    def database(self) -> Database:
        return self.services.get(Database)

    def get(self, kind: type[T]) -> T:
        return self.services.get(kind)


Info = strawberry.Info[Context, None]
ResolveInfo: TypeAlias = GraphQLResolveInfo[Context]
