"""Who is calling."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Identity:
    """A tenant, through one of its API keys, on behalf of the member who made the key."""

    tenant_id: UUID
    api_key_id: UUID
    member_id: UUID
