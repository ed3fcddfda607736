"""Tasks of the training room. Each is safe to run twice."""

from tunery.core.outbox import Task
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.training.answer_grant import answer_grant
from tunery.training.data_sets import DELETE_OBJECT
from tunery.training.request_grant import GRANT


async def delete_object(services: Services, path: str) -> None:
    """Remove an object whose key is destroyed. An absent object is what we want."""
    try:
        await services.get(ObjectStorage).delete(path)
    except FileNotFoundError:
        return


TASKS: dict[str, Task] = {DELETE_OBJECT: delete_object, GRANT: answer_grant}
