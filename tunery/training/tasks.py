"""What the worker does for this room."""

from tunery.core.services import Services
from tunery.core.storage import ObjectStorage


async def delete_object(services: Services, path: str) -> None:
    """Remove an object whose key is destroyed. Safe to run twice: an absent object is what we want."""
    try:
        await services.get(ObjectStorage).delete(path)
    except FileNotFoundError:
        return
