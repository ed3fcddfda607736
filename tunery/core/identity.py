"""Who is calling."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Identity:
    """A tenant, through one of its API keys, on behalf of the member who made the key."""

    tenant_id: UUID
    api_key_id: UUID
    member_id: UUID

    def may(self, permission: str) -> bool:  # noqa: ARG002 - every member has every permission, so far
        """Whether the caller has the permission."""
        return True
