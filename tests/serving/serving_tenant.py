"""A tenant that deploys and chats, and the books that it ends up with."""

import secrets
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import openai
from lora_adapters import TINY, MadeAdapter
from sqlalchemy import func, select

from tunery.billing.accounts import balances
from tunery.billing.models import LedgerEntry, Reservation, UsageEvent
from tunery.core.database import Database, Table
from tunery.core.services import Services
from tunery.serving.deployments import create_deployment
from tunery.serving.models import Deployment
from tunery.training.models import Adapter, AdapterVersion, BaseModel, DataSet, Quote, TrainingJob
from tunery.vault.keyring import Keyring, generate_data_key


@dataclass
class Books:
    """Everything that money and usage left behind."""

    balance: Decimal
    reserved: Decimal
    ledger: Decimal
    usage: dict[str, int]
    usage_amount: Decimal
    open_reservations: int

    def check(self) -> None:
        """Ledger, balance and usage agree, and nothing is held."""
        assert self.ledger == self.balance
        assert Decimal(5) - self.balance == self.usage_amount
        assert self.reserved == 0
        assert self.open_reservations == 0


class ServingTenant:
    def __init__(self, services: Services, signed_up: Any, gateway: str) -> None:
        self.id: UUID = signed_up.tenant_id
        self.slug: str = signed_up.slug
        self.identity = signed_up.identity
        self.headers: dict[str, str] = signed_up.headers
        self.services = services
        self.database = services.get(Database)
        self.openai = openai.AsyncOpenAI(base_url=f"{gateway}/v1", api_key=signed_up.api_key, max_retries=0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.openai.close()

    async def deploy(self, name: str = "shop", **source: Any) -> Deployment:
        async with self.database.unit_of_work(self.id) as uow:
            return await create_deployment(uow, name=name, **(source or {"base_model_name": TINY}))

    async def books(self) -> Books:
        async with self.database.unit_of_work(self.id) as uow:
            credit = (await balances(uow))["credit"]
            session = uow.session
            ledger = await session.scalar(select(func.sum(LedgerEntry.amount)).where(LedgerEntry.account == "credit"))
            events = (await session.scalars(select(UsageEvent))).all()
            usage: dict[str, int] = {}
            for event in events:
                usage[event.meter] = usage.get(event.meter, 0) + event.quantity
            return Books(
                credit.balance,
                credit.reserved,
                ledger or Decimal(0),
                usage,
                sum((event.amount for event in events), Decimal(0)),
                await session.scalar(
                    select(func.count()).where(Reservation.closed_at.is_(None), Reservation.source.startswith("chat:"))
                )
                or 0,
            )

    async def own(self, adapter: MadeAdapter) -> UUID:
        """A finished version of an adapter, without its training; the version's id."""
        async with self.database.unit_of_work(self.id) as uow:
            now = uow.now()

            async def add(row: Table) -> Any:
                uow.session.add(row)
                await uow.session.flush()
                return row.id  # type: ignore[attr-defined]

            base_id = await uow.session.scalar(select(BaseModel.id).where(BaseModel.name == TINY))
            name = secrets.token_hex(4)
            key = await self.services.get(Keyring).store_data_key(uow, generate_data_key(), purpose=name)
            data_set_id = await add(
                DataSet(name=name, rows=1, size=1, sha256="", data_key_id=key.id, object_path="", created_at=now)
            )
            quote_id = await add(
                Quote(
                    data_set_id=data_set_id,
                    base_model_id=base_id,
                    spec={},
                    train_rows=1,
                    held_out_rows=0,
                    truncated_rows=0,
                    trained_tokens=1,
                    trainable_tokens=1,
                    unit_price=0,
                    price=0,
                    currency="usd",
                    created_at=now,
                    expires_at=now,
                )
            )
            adapter_id = await add(Adapter(name=name, base_model_id=base_id, created_at=now))
            hold = Reservation(
                source=name, amount=Decimal(0), currency="usd", created_at=now, expires_at=None, closed_at=now
            )
            job_id = await add(
                TrainingJob(
                    quote_id=quote_id,
                    adapter_id=adapter_id,
                    reservation_id=await add(hold),
                    data_key_id=key.id,
                    status="succeeded",
                    created_at=now,
                )
            )
            version = AdapterVersion(
                adapter_id=adapter_id,
                number=1,
                job_id=job_id,
                digest=adapter.digest,
                manifest={},
                files=[],
                object_prefix=adapter.prefix,
                created_at=now,
            )
            return await add(version)
