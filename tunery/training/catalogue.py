"""The base-model catalogue: what adapters can be trained on, where its files are, what its tokens cost."""

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from tunery.core.database import UnitOfWork
from tunery.core.errors import Conflict, InvalidInput, NotFound, Unavailable
from tunery.training.models import BaseModel

BUNDLED_FOLDER = Path(__file__).parent / "base_models"
PRICE_DECIMALS = 6
"""Unit prices have at most this many, so that tokens x price / 10^6 is exact in the ledger's 12."""

TOKENIZER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
MODEL_FILES = (*TOKENIZER_FILES, "generation_config.json", "special_tokens_map.json", "*.safetensors", "*.index.json")
"""What is fetched from the hub: no code and no pickles."""


class BaseModelUnavailable(Unavailable):
    code = "BASE_MODEL_UNAVAILABLE"


@dataclass(frozen=True)
class BaseModelEntry:
    """One line of the catalogue. Prices are in US dollars per million tokens."""

    name: str
    repository: str | None
    revision: str
    licence: str
    parameters: int
    context_length: int
    train_price: Decimal
    input_price: Decimal
    output_price: Decimal


BUNDLED = BaseModelEntry(
    name="tunery/tiny",
    repository=None,
    revision="1",
    licence="apache-2.0",
    parameters=0,
    context_length=0,
    train_price=Decimal("0.40"),
    input_price=Decimal("0.10"),
    output_price=Decimal("0.20"),
)


async def register_base_model(uow: UnitOfWork, entry: BaseModelEntry) -> None:
    """Add the model to the catalogue, or change its prices and licence; quotes keep the price they were given.

    Raises InvalidInput for a price, and Conflict for other weights under a known name: adapters stand on them.
    """
    for field in ("train_price", "input_price", "output_price"):
        price: Decimal = getattr(entry, field)
        if price < 0 or price != round(price, PRICE_DECIMALS):
            raise InvalidInput(f"a price has 0 or more dollars and at most {PRICE_DECIMALS} decimals", field=field)
    known = await uow.session.scalar(select(BaseModel).where(BaseModel.name == entry.name))
    if known is not None and (known.repository, known.revision) != (entry.repository, entry.revision):
        raise Conflict(
            f"{entry.name} is registered at revision {known.revision}, and adapters stand on it: choose another name",
            field="name",
        )
    values = {**entry.__dict__, "created_at": uow.now()}
    line = insert(BaseModel).values(values)
    await uow.session.execute(line.on_conflict_do_update(index_elements=[BaseModel.name], set_=entry.__dict__))


async def register_bundled_base_models(uow: UnitOfWork) -> None:
    """`tunery/tiny`, with the size and context length that its own files state."""
    folder = BUNDLED_FOLDER / "tiny"
    config = json.loads((folder / "config.json").read_text())
    with (folder / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    parameters = sum(_elements(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    sized = {**BUNDLED.__dict__, "parameters": parameters, "context_length": config["max_position_embeddings"]}
    await register_base_model(uow, BaseModelEntry(**sized))


def _elements(shape: list[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


async def find_base_model(uow: UnitOfWork, name: str, *, field: str | None = None) -> BaseModel:
    """The catalogue's line of that name. Raises NotFound."""
    found = await uow.session.scalar(select(BaseModel).where(BaseModel.name == name))
    if found is None:
        raise NotFound("base model", name, field=field)
    return found


def describe_hub_model(repository: str, revision: str, endpoint: str | None) -> dict[str, Any]:
    """What the hub says of a model: `revision` (the commit), `licence` or None, `parameters`, `context_length`.

    Raises BaseModelUnavailable, and InvalidInput for a model that can't be used: no safetensors, no fast tokenizer, no
    context length.
    """
    import httpx2  # the hub's client lets its transport's errors through
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        info = HfApi(endpoint=endpoint).model_info(repository, revision=revision)
        names = {sibling.rfilename for sibling in info.siblings or []}
        if info.safetensors is None or "tokenizer.json" not in names:
            raise InvalidInput(f"{repository} has no safetensors weights or no tokenizer.json", field="repository")
        config = hf_hub_download(repository, "config.json", revision=info.sha, endpoint=endpoint)
    except EntryNotFoundError as error:
        raise InvalidInput(f"{repository} has no config.json", field="repository") from error
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise BaseModelUnavailable(f"the hub doesn't give {repository}: {error}") from error
    return {
        "revision": info.sha,
        "licence": info.card_data.license if info.card_data else None,
        "parameters": info.safetensors.total,
        "context_length": _context_length(repository, json.loads(Path(config).read_text())),
    }


def _context_length(repository: str, config: dict[str, Any]) -> int:
    for part in (config, config.get("text_config") or {}):  # a multimodal model nests its language model's
        for name in ("max_position_embeddings", "n_positions"):
            if isinstance(length := part.get(name), int) and length > 0:
                return length
    raise InvalidInput(
        f"config.json of {repository} states no context length: neither max_position_embeddings nor n_positions",
        field="repository",
    )


class BaseModelFiles:
    """Brings a base model's files onto this machine: bundled ones are here, others come from the hub."""

    def __init__(self, cache_dir: Path | None, endpoint: str | None = None) -> None:
        self._cache_dir = cache_dir
        self._endpoint = endpoint

    def tokenizer_folder(self, model: BaseModel) -> Path:
        """A folder with the tokenizer and chat template. Blocks while it downloads. Raises BaseModelUnavailable."""
        return self._folder(model, TOKENIZER_FILES)

    def model_folder(self, model: BaseModel) -> Path:
        """A folder with everything that training and serving need. Blocks while it downloads."""
        return self._folder(model, MODEL_FILES)

    def _folder(self, model: BaseModel, patterns: tuple[str, ...]) -> Path:
        if model.repository is None:
            return BUNDLED_FOLDER / model.name.partition("/")[2]
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            return Path(
                snapshot_download(
                    model.repository,
                    revision=model.revision,
                    cache_dir=self._cache_dir,
                    endpoint=self._endpoint,
                    allow_patterns=list(patterns),
                )
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise BaseModelUnavailable(f"base model {model.name} can't be fetched from the hub: {error}") from error
