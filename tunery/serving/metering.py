"""The bill of one chat: credit held before the first token, what was delivered paid, the rest given back."""

import asyncio
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from tunery.billing.models import Reservation
from tunery.billing.reservations import Usage, release, reserve, settle
from tunery.core.database import Database, is_unavailable
from tunery.core.logs import get_logger
from tunery.serving.openai_wire import TokenUsage
from tunery.training.models import BaseModel

INPUT_METER: Final = "input_tokens"
OUTPUT_METER: Final = "output_tokens"
SOURCE_PREFIX: Final = "chat:"
HOLD: Final = timedelta(minutes=10)
"""How long credit is held; what a gateway that died left open is released after it (`sweep.py`)."""
LONGEST_ANSWER: Final = HOLD - timedelta(seconds=45)
"""Generation ends before the hold does, with time to settle through a short outage of the database."""
LONGEST_START: Final = HOLD / 2
"""How long the first token may take: a node may have to fetch the adapter, and the base, first."""

_RETRY_SECONDS: Final = (0.2, 1.0, 3.0, 10.0)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ChatPrice:
    """What is being bought: the catalogue's prices at the moment of the request, and the most tokens it can come to."""

    base_model: str
    input_price: Decimal
    output_price: Decimal
    most: TokenUsage

    @classmethod
    def of(cls, base_model: BaseModel, most: TokenUsage) -> "ChatPrice":
        return cls(base_model.name, base_model.input_price, base_model.output_price, most)

    @property
    def amount(self) -> Decimal:
        return sum((part.amount for part in self.usage(self.most)), Decimal(0))

    def usage(self, tokens: TokenUsage) -> list[Usage]:
        return [
            Usage(INPUT_METER, self.base_model, tokens.prompt_tokens, self.input_price),
            Usage(OUTPUT_METER, self.base_model, tokens.completion_tokens, self.output_price),
        ]


class ChatBill:
    """`delivered` is what the client has been sent so far; `close` bills exactly that, once."""

    def __init__(self, database: Database, tenant_id: UUID, reservation_id: UUID, price: ChatPrice) -> None:
        self.delivered: TokenUsage | None = None
        self._database = database
        self._tenant_id = tenant_id
        self._reservation_id = reservation_id
        self._price = price
        self.deadline: Final = time.monotonic() + LONGEST_ANSWER.total_seconds()
        """On `time.monotonic`: when the answer must have ended."""
        self._closing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Settle and release in one transaction. Runs to its end even when the caller is cancelled meanwhile."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
            _closing.add(self._closing)
            self._closing.add_done_callback(_closing.discard)
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for delay in _RETRY_SECONDS:
            try:
                return await self._settle()
            except Exception as error:
                if not is_unavailable(error):
                    raise
                log.warning("settling a chat waits for the database", error=str(error))
                await asyncio.sleep(delay)
        return await self._settle()

    async def _settle(self) -> None:
        async with self._database.unit_of_work(self._tenant_id) as uow:
            hold = await uow.session.get_one(Reservation, self._reservation_id, with_for_update=True)
            if hold.closed_at is not None:  # by an attempt whose commit went through though its answer was lost
                return
            if self.delivered is not None and self.delivered.completion_tokens > 0:
                billed = self._within_hold(self.delivered)
                await settle(uow, hold.id, sequence=0, usage=self._price.usage(billed))
            await release(uow, hold.id)

    def _within_hold(self, tokens: TokenUsage) -> TokenUsage:
        """A node that counts more than was asked of it is our mistake; nobody pays more than was held."""
        most = self._price.most
        billed = TokenUsage(
            min(tokens.prompt_tokens, most.prompt_tokens), min(tokens.completion_tokens, most.completion_tokens)
        )
        if billed != tokens:
            log.error("a node reports more tokens than were reserved", reported=tokens, reserved=most)
        return billed


_closing: set[asyncio.Task[None]] = set()
"""Keeps running tasks alive: the event loop itself refers to them weakly."""


async def open_bill(database: Database, tenant_id: UUID, price: ChatPrice) -> ChatBill:
    """Hold the most that the chat can cost. Raises InsufficientFunds and holds nothing."""
    async with database.unit_of_work(tenant_id) as uow:
        source = f"{SOURCE_PREFIX}{uuid.uuid4()}"
        hold = await reserve(uow, source, price.amount, expires_at=uow.now() + HOLD)
    return ChatBill(database, tenant_id, hold.id, price)
