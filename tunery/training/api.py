"""Base models, data sets, quotes, training jobs and adapters in GraphQL."""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Self

import msgspec
import strawberry
from sqlalchemy import select
from strawberry.scalars import JSON
from strawberry.utils.str_converters import to_camel_case

from tunery.core import ids
from tunery.core.errors import InvalidInput
from tunery.graphql.context import Info
from tunery.graphql.errors import UserError, user_errors
from tunery.graphql.scalars import BigInt
from tunery.training import create_job, models
from tunery.training.data_sets import find_data_set
from tunery.training.job_events import follow_events
from tunery.training.quote import quote_training
from tunery.training.training_spec import TrainingSpec
from tunery.vault.keyring import Keyring


@strawberry.type(description="A frozen model that adapters are trained on. Prices are per million tokens.")
class BaseModel:
    name: str
    revision: str
    licence: str
    parameters: BigInt
    context_length: int
    train_price: Decimal
    input_price: Decimal
    output_price: Decimal

    @classmethod
    def of(cls, row: models.BaseModel) -> Self:
        return cls(
            name=row.name,
            revision=row.revision,
            licence=row.licence,
            parameters=BigInt(row.parameters),
            context_length=row.context_length,
            train_price=row.train_price,
            input_price=row.input_price,
            output_price=row.output_price,
        )


@strawberry.type
class DataSet:
    id: strawberry.ID
    name: str
    rows: int
    size: BigInt = strawberry.field(description="Bytes.")
    sha256: str
    created_at: datetime

    @classmethod
    def of(cls, row: models.DataSet) -> Self:
        return cls(
            id=strawberry.ID(ids.encode("data set", row.id)),
            name=row.name,
            rows=row.rows,
            size=BigInt(row.size),
            sha256=row.sha256,
            created_at=row.created_at,
        )


@strawberry.input(description="Hyper-parameters of QLoRA. What is absent gets a value that suits most data sets.")
class TrainingSpecInput:
    rank: int | None = None
    alpha: float | None = None
    dropout: float | None = None
    learning_rate: float | None = None
    batch_rows: int | None = strawberry.field(default=None, description="Rows per optimiser step.")
    epochs: int | None = None
    warmup_ratio: float | None = None
    scheduler: str | None = strawberry.field(default=None, description="linear or cosine.")
    max_grad_norm: float | None = None
    weight_decay: float | None = None
    seed: int | None = None
    max_length: int | None = strawberry.field(default=None, description="Tokens; longer rows keep their beginning.")

    def to_spec(self) -> TrainingSpec:
        """Raises InvalidInput with the path of the field."""
        given = {name: value for name, value in self.__dict__.items() if value is not None}
        try:
            return msgspec.convert(given, TrainingSpec)
        except InvalidInput as error:
            raise InvalidInput(error.message, field=f"spec.{to_camel_case(error.field or '')}") from error
        except msgspec.ValidationError as error:
            raise InvalidInput(str(error), field="spec") from error


@strawberry.input
class QuoteTrainingInput:
    data_set_id: strawberry.ID
    base_model: str
    spec: TrainingSpecInput = strawberry.field(default_factory=TrainingSpecInput)


@strawberry.type(description="A price that binds until it expires.")
class Quote:
    id: strawberry.ID
    train_rows: int
    held_out_rows: int = strawberry.field(description="Kept back to evaluate the adapter on.")
    truncated_rows: int
    trained_tokens: BigInt = strawberry.field(
        description="Tokens of the training rows, once per epoch: what is billed."
    )
    trainable_tokens: BigInt = strawberry.field(description="Of those, the assistant's, which carry loss.")
    unit_price: Decimal = strawberry.field(description="Per million trained tokens.")
    price: Decimal = strawberry.field(description="Exact; held when the job starts, never exceeded.")
    currency: str
    spec: JSON
    expires_at: datetime

    @classmethod
    def of(cls, row: models.Quote) -> Self:
        return cls(
            id=strawberry.ID(ids.encode("quote", row.id)),
            train_rows=row.train_rows,
            held_out_rows=row.held_out_rows,
            truncated_rows=row.truncated_rows,
            trained_tokens=BigInt(row.trained_tokens),
            trainable_tokens=BigInt(row.trainable_tokens),
            unit_price=row.unit_price,
            price=row.price,
            currency=row.currency,
            spec=JSON(row.spec),
            expires_at=row.expires_at,
        )


@strawberry.type(description="One trained artifact, immutable, known by its digest.")
class AdapterVersion:
    id: strawberry.ID
    number: int
    digest: str
    revision: str = strawberry.field(description="On the hub: the digest's first 40 digits.")
    manifest: JSON = strawberry.field(description="Base, data set, hyper-parameters, metrics, files and their hashes.")
    created_at: datetime

    @classmethod
    def of(cls, row: models.AdapterVersion) -> Self:
        return cls(
            id=strawberry.ID(ids.encode("adapter version", row.id)),
            number=row.number,
            digest=row.digest,
            revision=row.digest[:40],
            manifest=JSON(row.manifest),
            created_at=row.created_at,
        )


@strawberry.type
class TrainingJob:
    row: strawberry.Private[models.TrainingJob]
    id: strawberry.ID
    status: str = strawberry.field(description="queued, running, succeeded, failed or cancelled.")
    step: int = strawberry.field(description="Of the newest durable checkpoint.")
    total_steps: int | None
    trained_tokens: BigInt = strawberry.field(description="Durably checkpointed and settled.")
    error_code: str | None
    error_message: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, row: models.TrainingJob) -> Self:
        return cls(
            row=row,
            id=strawberry.ID(ids.encode("training job", row.id)),
            status=row.status,
            step=row.step,
            total_steps=row.total_steps,
            trained_tokens=BigInt(row.trained_tokens),
            error_code=row.error_code,
            error_message=row.error_message,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )

    @strawberry.field(description="What it made, once it has succeeded.")
    async def adapter_version(self, info: Info) -> AdapterVersion | None:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            found = select(models.AdapterVersion).where(models.AdapterVersion.job_id == self.row.id)
            row = await uow.session.scalar(found)
            return AdapterVersion.of(row) if row else None


@strawberry.type(
    description="What happened in a job: queued, started, metrics, checkpoint, succeeded, failed, cancelled."
)
class TrainingEvent:
    sequence: int
    kind: str
    data: JSON
    created_at: datetime

    @classmethod
    def of(cls, row: models.TrainingEvent) -> Self:
        return cls(sequence=row.sequence, kind=row.kind, data=JSON(row.data), created_at=row.created_at)


@strawberry.type
class QuoteTrainingPayload:
    quote: Quote | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)


@strawberry.input
class CreateTrainingJobInput:
    quote_id: strawberry.ID
    adapter_name: str = strawberry.field(
        description="Lower-case letters, digits, hyphens; a known name: a new version."
    )
    idempotency_key: str = strawberry.field(description="Of your choice; the same key starts the same job once.")


@strawberry.type
class CreateTrainingJobPayload:
    training_job: TrainingJob | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)


@strawberry.input
class CancelTrainingJobInput:
    id: strawberry.ID


@strawberry.type
class CancelTrainingJobPayload:
    training_job: TrainingJob | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)


@strawberry.type
class TrainingQuery:
    @strawberry.field(description="The base-model catalogue.")
    async def base_models(self, info: Info) -> list[BaseModel]:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            rows = await uow.session.scalars(select(models.BaseModel).order_by(models.BaseModel.name))
            return [BaseModel.of(row) for row in rows]

    @strawberry.field
    async def data_set(self, info: Info, id: strawberry.ID) -> DataSet:  # noqa: A002
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            return DataSet.of(await find_data_set(uow, ids.decode("data set", id)))

    @strawberry.field
    async def training_job(self, info: Info, id: strawberry.ID) -> TrainingJob:  # noqa: A002
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            return TrainingJob.of(await create_job.find_job(uow, ids.decode("training job", id)))


@strawberry.type
class TrainingMutation:
    @strawberry.mutation(description="Count the tokens that would be trained, and give a price that binds for a day.")
    @user_errors(QuoteTrainingPayload)
    async def quote_training(self, info: Info, input: QuoteTrainingInput) -> QuoteTrainingPayload:  # noqa: A002
        quote = await quote_training(
            info.context.services,
            info.context.caller.tenant_id,
            data_set_id=ids.decode("data set", input.data_set_id, field="dataSetId"),
            base_model_name=input.base_model,
            spec=input.spec.to_spec(),
        )
        return QuoteTrainingPayload(quote=Quote.of(quote))

    @strawberry.mutation(description="Hold the quote's price and queue the job.")
    @user_errors(CreateTrainingJobPayload)
    async def create_training_job(
        self,
        info: Info,
        input: CreateTrainingJobInput,  # noqa: A002
    ) -> CreateTrainingJobPayload:
        caller = info.context.caller
        quote_id = ids.decode("quote", input.quote_id, field="quoteId")
        async with info.context.database.unit_of_work(caller.tenant_id) as uow:
            job = await create_job.create_training_job(
                uow,
                info.context.get(Keyring),
                quote_id=quote_id,
                adapter_name=input.adapter_name,
                idempotency_key=input.idempotency_key,
            )
            return CreateTrainingJobPayload(training_job=TrainingJob.of(job))

    @strawberry.mutation(description="Stop a job. What is durably checkpointed stays billed, the rest is given back.")
    @user_errors(CancelTrainingJobPayload)
    async def cancel_training_job(
        self,
        info: Info,
        input: CancelTrainingJobInput,  # noqa: A002
    ) -> CancelTrainingJobPayload:
        caller = info.context.caller
        identifier = ids.decode("training job", input.id, field="id")
        async with info.context.database.unit_of_work(caller.tenant_id) as uow:
            return CancelTrainingJobPayload(
                training_job=TrainingJob.of(await create_job.cancel_training_job(uow, identifier))
            )


@strawberry.type
class TrainingSubscription:
    @strawberry.subscription(description="A job's events as they happen, from number `after` + 1, until it has ended.")
    async def training_job_events(
        self,
        info: Info,
        id: strawberry.ID,  # noqa: A002
        after: int = 0,
    ) -> AsyncIterator[TrainingEvent]:
        tenant_id = info.context.caller.tenant_id
        identifier = ids.decode("training job", id)
        async with info.context.database.unit_of_work(tenant_id) as uow:
            await create_job.find_job(uow, identifier)
        async for event in follow_events(info.context.database, tenant_id, identifier, after):
            yield TrainingEvent.of(event)
