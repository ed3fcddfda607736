"""The base models of the catalogue as a node's source."""

import asyncio
from collections.abc import Collection

from sqlalchemy import select

from tunery.core.database import Database
from tunery.serving.engines.engine import BaseModelFolder, ModelNotLoaded
from tunery.training.catalogue import BaseModelFiles
from tunery.training.models import BaseModel


class CatalogueSource:
    """Every base of the catalogue, or only those named: the ones that this machine's memory is meant for."""

    def __init__(self, database: Database, files: BaseModelFiles, only: Collection[str] | None = None) -> None:
        self._database = database
        self._files = files
        self._only = only

    async def names(self) -> list[str]:
        async with self._database.dispatch() as uow:
            names = await uow.session.scalars(select(BaseModel.name).order_by(BaseModel.name))
            return [name for name in names if self._only is None or name in self._only]

    async def fetch(self, name: str) -> BaseModelFolder:
        async with self._database.dispatch() as uow:
            row = await uow.session.scalar(select(BaseModel).where(BaseModel.name == name))
        if row is None or (self._only is not None and name not in self._only):
            raise ModelNotLoaded(name)
        folder = await asyncio.to_thread(self._files.model_folder, row)
        return BaseModelFolder(folder, row.revision, row.context_length)
