from lora_adapters import TINY, TINY_FOLDER

from tunery.serving.engines.engine import BaseModelFolder, ModelNotLoaded


class TinySource:
    """A source of base models that knows `tunery/tiny` alone."""

    async def names(self) -> list[str]:
        return [TINY]

    async def fetch(self, name: str) -> BaseModelFolder:
        if name != TINY:
            raise ModelNotLoaded(name)
        return BaseModelFolder(TINY_FOLDER, "1", 1024)
