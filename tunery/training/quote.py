"""Quotes: the tokens that a job will train, counted by tokenising for real, and the price that binds for a day."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from tunery.core import ids
from tunery.core.database import Database, UnitOfWork
from tunery.core.errors import InvalidInput, NotFound
from tunery.core.money import CURRENCY, token_price
from tunery.core.services import Services
from tunery.training.catalogue import BaseModelFiles, find_base_model
from tunery.training.data_sets import find_data_set, load_conversations
from tunery.training.models import Quote
from tunery.training.split import NothingToTrain, split_rows
from tunery.training.tokenization import TokenizedRow, Tokenizer
from tunery.training.training_spec import TrainingSpec

VALIDITY = timedelta(days=1)
FEWEST_ROWS = 10


async def quote_training(
    services: Services, tenant_id: UUID, *, data_set_id: UUID, base_model_name: str, spec: TrainingSpec
) -> Quote:
    """Count, price, keep. Raises NotFound, InvalidInput, TemplateError, NothingToTrain, BaseModelUnavailable."""
    database = services.get(Database)
    async with database.unit_of_work(tenant_id) as uow:
        data_set = await find_data_set(uow, data_set_id, field="dataSetId")
        base_model = await find_base_model(uow, base_model_name, field="baseModel")
    if data_set.rows < FEWEST_ROWS:
        raise InvalidInput(
            f"the data set has {data_set.rows} rows; at least {FEWEST_ROWS} are needed", field="dataSetId"
        )
    folder = await asyncio.to_thread(services.get(BaseModelFiles).tokenizer_folder, base_model)
    conversations = await load_conversations(services, tenant_id, data_set)
    length = min(spec.max_length, base_model.context_length)
    rows = await asyncio.to_thread(tokenize_rows, folder, length, conversations)

    train, held_out = split_rows(rows, spec.seed)
    if not train:
        raise NothingToTrain(
            f"with the template of {base_model.name} no token of this data set would be trained on: "
            "the assistant's messages are empty, cut off at the maximum length, or not marked by the template",
            field="dataSetId",
        )
    trained_tokens = sum(row.tokens for row in train) * spec.epochs
    async with database.unit_of_work(tenant_id) as uow:
        quote = Quote(
            data_set_id=data_set.id,
            base_model_id=base_model.id,
            spec=spec.to_dict(),
            train_rows=len(train),
            held_out_rows=len(held_out),
            truncated_rows=sum(row.truncated for row in rows),
            trained_tokens=trained_tokens,
            trainable_tokens=sum(row.trainable_tokens for row in train) * spec.epochs,
            unit_price=base_model.train_price,
            price=token_price(trained_tokens, base_model.train_price),
            currency=CURRENCY,
            created_at=uow.now(),
            expires_at=uow.now() + VALIDITY,
        )
        uow.session.add(quote)
    return quote


async def find_quote(uow: UnitOfWork, identifier: UUID, *, field: str | None = None) -> Quote:
    quote = await uow.session.get(Quote, identifier)
    if quote is None:
        raise NotFound("quote", ids.encode("quote", identifier), field=field)
    return quote


def tokenize_rows(
    folder: Path, context_length: int, conversations: Sequence[Sequence[dict[str, Any]]]
) -> list[TokenizedRow]:
    """Every conversation as tokens and labels, by the base model's own tokenizer and template."""
    return list(load_tokenizer(folder, context_length).encode_conversations(conversations))


@lru_cache(maxsize=16)
def load_tokenizer(folder: Path, context_length: int) -> Tokenizer:
    """A tokenizer by its folder; folders of base models never change, a new revision has another."""
    return Tokenizer.from_folder(folder, context_length=context_length)
