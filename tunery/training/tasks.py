"""Tasks of the training room. Each is safe to run twice."""

from tunery.core.outbox import Task
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.training.answer_grant import answer_grant
from tunery.training.data_sets import DELETE_ATTEMPTS, DELETE_OBJECT
from tunery.training.request_grant import GRANT


async def delete_object(services: Services, path: str) -> None:
    """Remove an object whose key is destroyed. An absent object is what we want."""
    try:
        await services.get(ObjectStorage).delete(path)
    except FileNotFoundError:
        return


async def delete_attempts(services: Services, job_id: str, keep: str) -> None:
    """Remove what a job's attempts wrote, lost ones included, but for what is below the path `keep`."""
    for path in await services.get(ObjectStorage).list(f"attempts/{job_id}/"):
        if not (keep and path.startswith(f"{keep}/")):
            await delete_object(services, path)


TASKS: dict[str, Task] = {DELETE_OBJECT: delete_object, DELETE_ATTEMPTS: delete_attempts, GRANT: answer_grant}
