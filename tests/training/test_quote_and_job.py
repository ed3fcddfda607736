"""From a data set to a queued job: what is counted, what binds, what is refused."""

import asyncio
import json
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, select

from tests.training.shop import ROWS, chunks, jsonl
from tunery.billing.accounts import balances
from tunery.core import ids
from tunery.core.clock import TravellingClock
from tunery.core.database import Database
from tunery.core.outbox import OutboxMessage
from tunery.core.services import Services
from tunery.training.create_job import checkpoints_purpose
from tunery.training.data_sets import store_data_set
from tunery.training.models import Adapter, TrainingJob
from tunery.vault.keyring import Keyring, generate_data_key


async def data_set_of(services: Services, tenant, content: bytes | None = None) -> str:
    stored = await store_data_set(services, tenant.tenant_id, "shop.jsonl", chunks(content or jsonl()))
    return ids.encode("data set", stored.id)


async def quote(api, services: Services, tenant, **spec: object) -> dict:
    data_set = await data_set_of(services, tenant)
    selection = (
        "quote { id trainRows heldOutRows truncatedRows trainedTokens trainableTokens price unitPrice expiresAt }"
    )
    payload = await api.mutate(
        "quoteTraining", selection, tenant, dataSetId=data_set, baseModel="tunery/tiny", spec=spec
    )
    assert payload["userErrors"] == []
    return payload["quote"]


async def start(api, tenant, quote_id: str, key: str = "1", adapter: str = "support") -> dict:
    return await api.mutate(
        "createTrainingJob",
        "trainingJob { id status }",
        tenant,
        quoteId=quote_id,
        adapterName=adapter,
        idempotencyKey=key,
    )


async def state(services: Services, tenant) -> tuple[Decimal, Decimal, int, int, int]:
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        credit = (await balances(uow))["credit"]
        counts = [
            await uow.session.scalar(select(func.count()).select_from(table))
            for table in (TrainingJob, Adapter, OutboxMessage)
        ]
        return (credit.balance, credit.reserved, *counts)


async def test_a_quote_counts_by_the_real_tokenizer_and_scales_with_epochs(api, services, sign_up):
    tenant = await sign_up()
    one, three = [await quote(api, services, tenant, epochs=epochs) for epochs in (1, 3)]
    assert three["trainedTokens"] == 3 * one["trainedTokens"]
    assert 0 < one["trainableTokens"] < one["trainedTokens"]
    assert one["trainRows"] + one["heldOutRows"] == ROWS
    assert Decimal(one["price"]) == one["trainedTokens"] * Decimal(one["unitPrice"]) / 1_000_000


async def test_starting_a_job_reserves_exactly_the_quote(api, services, sign_up):
    tenant = await sign_up()
    quoted = await quote(api, services, tenant)
    started = await start(api, tenant, quoted["id"])
    assert started["trainingJob"]["status"] == "queued"
    assert await state(services, tenant) == (5, Decimal(quoted["price"]), 1, 1, 1)


async def test_the_same_key_starts_one_job_however_often_and_fast(api, services, sign_up):
    tenant = await sign_up()
    quoted = await quote(api, services, tenant)
    answers = await asyncio.gather(*(start(api, tenant, quoted["id"]) for _ in range(8)))
    assert len({answer["trainingJob"]["id"] for answer in answers}) == 1
    assert (await state(services, tenant))[2:] == (1, 1, 1)
    other = await start(api, tenant, quoted["id"], adapter="another")
    assert other["userErrors"][0]["code"] == "CONFLICT"
    second = await start(api, tenant, quoted["id"], key="2")
    assert (second["trainingJob"], second["userErrors"][0]["field"]) == (None, "quoteId")
    assert (await state(services, tenant))[2:] == (1, 1, 1)


async def test_a_quote_whose_job_a_restored_backup_lacks_can_be_started(api, services, sign_up):
    tenant = await sign_up()
    quoted = await quote(api, services, tenant)
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        purpose = checkpoints_purpose(ids.decode("quote", quoted["id"]))
        left = await services.get(Keyring).store_data_key(uow, generate_data_key(), purpose=purpose)
    started = await start(api, tenant, quoted["id"])
    assert started["userErrors"] == []
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        assert (await uow.session.scalars(select(TrainingJob.data_key_id))).one() == left.id


async def test_a_quote_binds_for_a_day(api, services, sign_up, clock: TravellingClock):
    tenant = await sign_up()
    early, late = await quote(api, services, tenant), await quote(api, services, tenant)
    clock.travel(timedelta(hours=23))
    assert (await start(api, tenant, early["id"]))["userErrors"] == []
    clock.travel(timedelta(hours=2))
    before = await state(services, tenant)
    refused = await start(api, tenant, late["id"], key="2")
    assert refused["userErrors"][0]["code"] == "QUOTE_EXPIRED"
    assert await state(services, tenant) == before


async def test_a_job_beyond_the_balance_is_refused(api, services, sign_up):
    tenant = await sign_up()
    quoted = await quote(api, services, tenant, epochs=50_000)
    assert Decimal(quoted["price"]) > 5
    refused = await start(api, tenant, quoted["id"])
    assert refused["userErrors"][0]["code"] == "INSUFFICIENT_FUNDS"
    assert await state(services, tenant) == (5, 0, 0, 0, 0)


async def test_a_set_without_a_trainable_token_is_refused(api, services, sign_up):
    tenant = await sign_up()
    data_set = await data_set_of(services, tenant)
    # So short that only the beginning of each question is left: nothing of the assistant's.
    payload = await api.mutate(
        "quoteTraining", "quote { id }", tenant, dataSetId=data_set, baseModel="tunery/tiny", spec={"maxLength": 4}
    )
    assert payload["quote"] is None
    assert payload["userErrors"][0]["code"] == "NO_TRAINABLE_TOKENS"


async def test_a_set_that_is_too_small_is_refused(api, services, sign_up):
    tenant = await sign_up()
    data_set = await data_set_of(services, tenant, jsonl(9))
    payload = await api.mutate("quoteTraining", "quote { id }", tenant, dataSetId=data_set, baseModel="tunery/tiny")
    assert "at least 10" in payload["userErrors"][0]["message"]


@pytest.mark.parametrize(
    ("given", "field", "code"),
    [
        ({"baseModel": "acme/none"}, "baseModel", "NOT_FOUND"),
        ({"dataSetId": "file_" + "0" * 32}, "dataSetId", "NOT_FOUND"),
        ({"spec": {"rank": 0}}, "spec.rank", "INVALID_INPUT"),
        ({"spec": {"learningRate": -1}}, "spec.learningRate", "INVALID_INPUT"),
        ({"spec": {"scheduler": "cubic"}}, "spec", "INVALID_INPUT"),
        ({"spec": {"epochs": 0}}, "spec.epochs", "INVALID_INPUT"),
    ],
)
async def test_a_wrong_quote_names_its_field(api, services, sign_up, given: dict, field: str, code: str):
    tenant = await sign_up()
    valid = {"dataSetId": await data_set_of(services, tenant), "baseModel": "tunery/tiny"}
    payload = await api.mutate("quoteTraining", "quote { id }", tenant, **(valid | given))
    assert payload["quote"] is None
    assert (payload["userErrors"][0]["field"], payload["userErrors"][0]["code"]) == (field, code), json.dumps(payload)


async def test_foreign_data_sets_quotes_and_jobs_do_not_exist(api, services, sign_up):
    tenant, stranger = await sign_up(), await sign_up()
    data_set = await data_set_of(services, tenant)
    foreign = await api.mutate("quoteTraining", "quote { id }", stranger, dataSetId=data_set, baseModel="tunery/tiny")
    assert foreign["userErrors"][0]["code"] == "NOT_FOUND"
    quoted = await quote(api, services, tenant)
    assert (await start(api, stranger, quoted["id"]))["userErrors"][0]["code"] == "NOT_FOUND"
    job = (await start(api, tenant, quoted["id"]))["trainingJob"]["id"]
    cancelled = await api.mutate("cancelTrainingJob", "trainingJob { id }", stranger, id=job)
    assert cancelled["userErrors"][0]["code"] == "NOT_FOUND"
    assert (await state(services, stranger))[1:] == (0, 0, 0, 0)
    seen = await api.graphql("query($id: ID!) { trainingJob(id: $id) { status } }", tenant, id=job)
    assert seen["data"]["trainingJob"]["status"] == "queued"


async def test_cancelling_a_queued_job_gives_everything_back(api, services, sign_up):
    tenant = await sign_up()
    quoted = await quote(api, services, tenant)
    job = (await start(api, tenant, quoted["id"]))["trainingJob"]["id"]
    cancelled = await api.mutate("cancelTrainingJob", "trainingJob { status }", tenant, id=job)
    assert cancelled["trainingJob"]["status"] == "cancelled"
    assert (await state(services, tenant))[:2] == (5, 0)
    again = await api.mutate("cancelTrainingJob", "trainingJob { status }", tenant, id=job)
    assert again["userErrors"][0]["code"] == "CONFLICT"


async def test_an_adapter_keeps_its_name_and_base(api, services, sign_up):
    tenant = await sign_up()
    quoted = await quote(api, services, tenant)
    refused = await start(api, tenant, quoted["id"], adapter="No Slug")
    assert refused["userErrors"][0]["field"] == "adapterName"
    assert (await state(services, tenant))[:3] == (5, 0, 0)
