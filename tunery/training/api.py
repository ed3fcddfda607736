"""Base models, data sets, quotes, training jobs and adapters in GraphQL."""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self

import msgspec
import strawberry
from sqlalchemy import func
from strawberry.scalars import JSON
from strawberry.utils.str_converters import to_camel_case

from tunery.core import ids
from tunery.core.errors import InvalidInput
from tunery.graphql.access import PUBLIC
from tunery.graphql.connections import Connection
from tunery.graphql.context import Info
from tunery.graphql.errors import UserErrors, user_errors
from tunery.graphql.node import Node
from tunery.graphql.planner.declare import (
    Conditions,
    Row,
    column,
    global_id,
    id_of,
    many,
    newest,
    newest_number,
    one,
    operation,
    planned,
    reference,
    root,
)
from tunery.graphql.scalars import BigInt
from tunery.training import create_job, models
from tunery.training.job_events import follow_events
from tunery.training.quote import quote_training
from tunery.training.training_spec import TrainingSpec
from tunery.vault.keyring import Keyring

READ, WRITE = "training:read", "training:write"


@planned(
    models.BaseModel,
    access=PUBLIC,
    kind="base model",
    description="A frozen model that adapters are trained on. Prices are in US dollars per million tokens.",
)
class BaseModel(Node):
    id: strawberry.ID = global_id("base model")
    name: str = column(description="By which it is chosen; nothing else has it.")
    revision: str = column(description="Of its repository on the hub. It never changes.")
    licence: str = column(description="Its own, as its makers name it.")
    parameters: BigInt = column(description="How many weights it has.")
    context_length: int = column(description="The longest row or chat, in tokens.")
    train_price: Decimal = column(description="Of trained tokens.")
    input_price: Decimal = column(description="Of tokens read in a chat.")
    output_price: Decimal = column(description="Of tokens written in a chat.")


@planned(
    models.DataSet,
    access=READ,
    kind="data set",
    description="A file of chats, checked and sealed. Upload one at /v1/files.",
)
class DataSet(Node):
    id: strawberry.ID = global_id("data set")
    name: str = column(description="The file's.")
    rows: int = column(description="How many chats it has.")
    size: BigInt = column(description="Bytes.")
    sha256: str = column(description="Of the file as it was uploaded, in hexadecimal.")
    created_at: datetime = column(description="When it was uploaded.")
    deleted_at: datetime | None = column(description="When its key was destroyed; null: it is there.")


@planned(models.Quote, access=READ, kind="quote", description="A price that binds until it expires.")
class Quote(Node):
    id: strawberry.ID = global_id("quote")
    train_rows: int = column(description="Rows that are trained on.")
    held_out_rows: int = column(description="Rows kept back to evaluate the adapter on.")
    truncated_rows: int = column(description="Rows longer than the maximum length; they keep their beginning.")
    trained_tokens: BigInt = column(description="Tokens of the training rows, once per epoch: what is billed.")
    trainable_tokens: BigInt = column(description="Of those, the assistant's, which carry loss.")
    unit_price: Decimal = column(description="Per million trained tokens, in units of the currency.")
    price: Decimal = column(description="Exact; held when the job starts, never exceeded.")
    currency: str = column(description="ISO 4217, in lower case.")
    spec: JSON = column(description="Every hyper-parameter, with the values that were not given.")
    created_at: datetime = column(description="When it was made.")
    expires_at: datetime = column(description="Until when a job can be started from it: a day later.")
    base_model: BaseModel = one(
        lambda quote, base_model: base_model.id == quote.base_model_id, description="What would be trained on."
    )
    data_set: DataSet = one(
        lambda quote, data_set: data_set.id == quote.data_set_id, description="What would be trained, be it deleted."
    )


@planned(
    models.AdapterVersion,
    access=READ,
    kind="adapter version",
    description="One trained artifact, immutable, known by its digest.",
)
class AdapterVersion(Node):
    id: strawberry.ID = global_id("adapter version")
    number: int = column(description="Rises by one with each version of the adapter.")
    digest: str = column(description="SHA-256 of the manifest, in hexadecimal.")
    revision: str = column(
        lambda version: func.left(version.digest, 40), description="On the hub: the digest's first 40 digits."
    )
    manifest: JSON = column(description="Base, data set, hyper-parameters, metrics, files and their hashes.")
    created_at: datetime = column(description="When it was finished.")


@planned(models.Adapter, access=READ, kind="adapter", description="A named line of versions, all on one base model.")
class Adapter(Node):
    id: strawberry.ID = global_id("adapter")
    name: str = column(description="The organisation's own; with its slug, the repository on the hub.")
    created_at: datetime = column(description="When its first job was started.")
    base_model: BaseModel = one(
        lambda adapter, base_model: base_model.id == adapter.base_model_id, description="What it is trained on."
    )
    versions: list[AdapterVersion] = many(
        lambda adapter, version: version.adapter_id == adapter.id, order=newest_number, description="The newest first."
    )


@planned(models.TrainingJob, access=READ, kind="training job", description="A QLoRA run on one quote.")
class TrainingJob(Node):
    id: strawberry.ID = global_id("training job")
    status: str = column(description="queued, running, succeeded, failed or cancelled.")
    step: int = column(description="Of the newest durable checkpoint.")
    total_steps: int | None = column(description="How many there will be; null: it has not begun.")
    trained_tokens: BigInt = column(description="Durably checkpointed and settled.")
    error_code: str | None = column(description="Why it failed, for programs.")
    error_message: str | None = column(description="Why it failed, for people.")
    created_at: datetime = column(description="When it was queued.")
    started_at: datetime | None = column(description="When a node first took it.")
    finished_at: datetime | None = column(description="When it succeeded, failed or was cancelled.")
    quote: Quote = one(lambda job, quote: quote.id == job.quote_id, description="What was agreed.")
    adapter: Adapter = one(lambda job, adapter: adapter.id == job.adapter_id, description="What gets a new version.")
    adapter_version: AdapterVersion | None = one(
        lambda job, version: version.job_id == job.id, description="What it made, once it has succeeded."
    )


@strawberry.type(
    description="What happened in a job: queued, started, metrics, checkpoint, evaluated, succeeded, failed, cancelled."
)
class TrainingEvent:
    sequence: int = strawberry.field(description="1, 2, 3 …: the place in the job's events.")
    kind: str = strawberry.field(description="queued, started, metrics, checkpoint, evaluated, succeeded, …")
    data: JSON = strawberry.field(description="What there is to say; it depends on the kind.")
    created_at: datetime = strawberry.field(description="When it happened.")

    @classmethod
    def of(cls, row: models.TrainingEvent) -> Self:
        return cls(sequence=row.sequence, kind=row.kind, data=JSON(row.data), created_at=row.created_at)


@strawberry.input(description="Hyper-parameters of QLoRA. What is absent gets a value that suits most data sets.")
class TrainingSpecInput:
    rank: int | None = strawberry.field(default=None, description="Of the LoRA matrices, 1 to 256; 16 when absent.")
    alpha: float | None = strawberry.field(default=None, description="Scale of the LoRA, above 0; 32 when absent.")
    dropout: float | None = strawberry.field(default=None, description="A share, from 0 to below 1; 0 when absent.")
    learning_rate: float | None = strawberry.field(default=None, description="Above 0; 0.0002 when absent.")
    batch_rows: int | None = strawberry.field(
        default=None, description="Rows per optimiser step, at least 1; 8 when absent."
    )
    epochs: int | None = strawberry.field(
        default=None, description="Times that each row is trained, at least 1; 3 when absent."
    )
    warmup_ratio: float | None = strawberry.field(
        default=None, description="Share of the steps in which the learning rate rises, below 1; 0.03 when absent."
    )
    scheduler: str | None = strawberry.field(default=None, description="linear or cosine; cosine when absent.")
    max_grad_norm: float | None = strawberry.field(
        default=None, description="Longer gradients are shortened to it; above 0; 1 when absent."
    )
    weight_decay: float | None = strawberry.field(default=None, description="At least 0; 0 when absent.")
    seed: int | None = strawberry.field(
        default=None, description="Of the split, the order, the adapter's beginning and dropout; 0 when absent."
    )
    max_length: int | None = strawberry.field(
        default=None, description="Tokens, at least 2; longer rows keep their beginning; 2048 when absent."
    )

    def to_spec(self) -> TrainingSpec:
        """Raises InvalidInput with the path of the field."""
        given = {name: value for name, value in self.__dict__.items() if value is not None}
        try:
            return msgspec.convert(given, TrainingSpec)
        except InvalidInput as error:
            raise InvalidInput(error.message, field=f"spec.{to_camel_case(error.field or '')}") from error
        except msgspec.ValidationError as error:
            raise InvalidInput(str(error), field="spec") from error


@strawberry.input(description="What to train, on what, how.")
class QuoteTrainingInput:
    data_set_id: strawberry.ID = strawberry.field(description="Of one of your own, with at least 10 rows.")
    base_model: str = strawberry.field(description="Its name.")
    spec: TrainingSpecInput = strawberry.field(default_factory=TrainingSpecInput, description="Hyper-parameters.")


@strawberry.type(description="What came of quoteTraining.")
class QuoteTrainingPayload(UserErrors):
    quote: Quote | None = strawberry.field(default=None, description="The price; null: see userErrors.")


@strawberry.input(description="What to train, and under which name.")
class CreateTrainingJobInput:
    quote_id: strawberry.ID = strawberry.field(description="Of a quote that has not expired. It starts one job.")
    adapter_name: str = strawberry.field(
        description="Up to 64 lower-case letters and digits, joined by hyphens; a known name: a new version."
    )
    idempotency_key: str = strawberry.field(
        description="Of your choice, 1 to 255 characters; the same key starts the same job once."
    )


@strawberry.type(description="What came of createTrainingJob.")
class CreateTrainingJobPayload(UserErrors):
    training_job: TrainingJob | None = strawberry.field(default=None, description="The job; null: see userErrors.")


@strawberry.input(description="Which job to stop.")
class CancelTrainingJobInput:
    id: strawberry.ID = strawberry.field(description="Of one that is queued or running.")


@strawberry.type(description="What came of cancelTrainingJob.")
class CancelTrainingJobPayload(UserErrors):
    training_job: TrainingJob | None = strawberry.field(default=None, description="As it is now; null: see userErrors.")


JobId = Annotated[strawberry.ID, strawberry.argument(description="Of a training job."), id_of("training job")]
DataSetId = Annotated[strawberry.ID, strawberry.argument(description="Of a data set."), id_of("data set")]
AdapterId = Annotated[strawberry.ID, strawberry.argument(description="Of an adapter."), id_of("adapter")]


@strawberry.type
class TrainingQuery:
    @root(
        Connection[BaseModel],
        access=PUBLIC,
        order=lambda base_model: [base_model.name.asc()],
        description="The base-model catalogue, by name.",
    )
    def base_models(base_model: Row) -> Conditions:
        return ()

    @root(DataSet | None, access=READ, description="A data set that is not deleted.")
    def data_set(data_set: Row, id: DataSetId) -> Conditions:  # noqa: A002
        yield data_set.id == id
        yield data_set.deleted_at.is_(None)

    @root(
        Connection[DataSet],
        access=READ,
        order=newest,
        description="The organisation's data sets, the newest first, without deleted ones.",
    )
    def data_sets(data_set: Row) -> Conditions:
        yield data_set.deleted_at.is_(None)

    @root(TrainingJob | None, access=READ, description="A training job of the organisation's.")
    def training_job(job: Row, id: JobId) -> Conditions:  # noqa: A002
        yield job.id == id

    @root(
        Connection[TrainingJob],
        access=READ,
        order=newest,
        description="The organisation's training jobs, the newest first.",
    )
    def training_jobs(job: Row) -> Conditions:
        return ()

    @root(Adapter | None, access=READ, description="An adapter of the organisation's.")
    def adapter(adapter: Row, id: AdapterId) -> Conditions:  # noqa: A002
        yield adapter.id == id

    @root(Connection[Adapter], access=READ, order=newest, description="The organisation's adapters, the newest first.")
    def adapters(adapter: Row) -> Conditions:
        return ()


@strawberry.type
class TrainingMutation:
    @operation(
        access=WRITE, description="Count the tokens that would be trained, and give a price that binds for a day."
    )
    @user_errors(QuoteTrainingPayload)
    async def quote_training(self, info: Info, input: QuoteTrainingInput) -> QuoteTrainingPayload:  # noqa: A002
        quote = await quote_training(
            info.context.services,
            info.context.caller.tenant_id,
            data_set_id=ids.decode("data set", input.data_set_id, field="dataSetId"),
            base_model_name=input.base_model,
            spec=input.spec.to_spec(),
        )
        return QuoteTrainingPayload(quote=reference(Quote, quote.id))

    @operation(access=WRITE, description="Hold the quote's price and queue the job.")
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
        return CreateTrainingJobPayload(training_job=reference(TrainingJob, job.id))

    @operation(
        access=WRITE, description="Stop a job. What is durably checkpointed stays billed, the rest is given back."
    )
    @user_errors(CancelTrainingJobPayload)
    async def cancel_training_job(
        self,
        info: Info,
        input: CancelTrainingJobInput,  # noqa: A002
    ) -> CancelTrainingJobPayload:
        caller = info.context.caller
        identifier = ids.decode("training job", input.id, field="id")
        async with info.context.database.unit_of_work(caller.tenant_id) as uow:
            job = await create_job.cancel_training_job(uow, identifier)
        return CancelTrainingJobPayload(training_job=reference(TrainingJob, job.id))


FollowedJob = Annotated[strawberry.ID, strawberry.argument(description="Of a training job of the organisation's.")]
After = Annotated[int, strawberry.argument(description="The last event that you have; 0 when absent: from the first.")]


@strawberry.type
class TrainingSubscription:
    @operation(access=READ, description="A job's events as they happen, from number `after` + 1, until it has ended.")
    async def training_job_events(self, info: Info, id: FollowedJob, after: After = 0) -> AsyncIterator[TrainingEvent]:  # noqa: A002
        tenant_id = info.context.caller.tenant_id
        identifier = ids.decode("training job", id)
        async with info.context.database.unit_of_work(tenant_id) as uow:
            await create_job.find_job(uow, identifier)
        async for event in follow_events(info.context.database, tenant_id, identifier, after):
            yield TrainingEvent.of(event)
