"""A node's answer on its way to the client, with the bill kept in step with what was sent."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from tunery.core.errors import DomainError
from tunery.core.http import fault
from tunery.core.logs import get_logger
from tunery.serving.chat_memory import ChatMemory
from tunery.serving.chat_request import ChatRequest
from tunery.serving.event_stream import DONE, server_sent_event
from tunery.serving.metering import ChatBill
from tunery.serving.nodes import NodeChunk, NodeLost
from tunery.serving.openai_wire import CompletionWriter, FinishReason

log = get_logger(__name__)


class Answer:
    """Chunks of one answer, the last one with its finish reason; the first is there already."""

    def __init__(self, first: NodeChunk, rest: AsyncGenerator[NodeChunk, None]) -> None:
        self._first = first
        self._rest = rest

    @classmethod
    async def begin(cls, chunks: AsyncGenerator[NodeChunk, None]) -> "Answer":
        """Wait for the first token. Raises what `chunks` raises."""
        try:
            return cls(await anext(chunks), chunks)
        except StopAsyncIteration:
            raise NodeLost("the node ended its answer before it began") from None

    async def chunks(self, deadline: float) -> AsyncGenerator[NodeChunk, None]:
        """All chunks; closing this, or the deadline (on `time.monotonic`), stops the node. Raises NodeLost."""
        async with aclosing(self._rest):
            chunk = self._first
            while chunk.finish_reason is None:
                if time.monotonic() > deadline:
                    yield NodeChunk(chunk.text, chunk.usage, "length")
                    return
                yield chunk
                try:
                    chunk = await anext(self._rest)
                except StopAsyncIteration:
                    raise NodeLost("the node ended its answer in the middle") from None
            yield chunk

    async def aclose(self) -> None:
        """Stop the node. Closing `chunks` does so too, but only where reading it had begun."""
        await self._rest.aclose()


async def collect(
    answer: Answer, bill: ChatBill, writer: CompletionWriter, memory: ChatMemory | None = None
) -> dict[str, Any]:
    """The whole answer, remembered and settled. When it fails or nobody waits for it any more nothing was delivered,
    nor billed.
    """
    text = []
    async with aclosing(answer.chunks(bill.deadline)) as chunks:
        async for chunk in chunks:
            text.append(chunk.text)
            if chunk.finish_reason is not None:
                whole = "".join(text)
                if memory is not None:  # before the bill: who hangs up meanwhile was delivered nothing
                    await memory.remember(whole)
                bill.delivered = chunk.usage
                await bill.close()
                return _with(memory, writer.completion(whole, chunk.finish_reason, chunk.usage))
    raise NodeLost("the node ended its answer in the middle")


async def stream(
    answer: Answer, bill: ChatBill, writer: CompletionWriter, asked: ChatRequest, memory: ChatMemory | None = None
) -> AsyncGenerator[bytes, None]:
    """The answer as server-sent events. However it ends, the bill is closed with what was sent until then.

    A chunk counts as delivered once the server took it from us. The chat is remembered, and the last chunk settled,
    before it is sent: who reads `[DONE]` can rely on both.
    """
    try:
        async with aclosing(answer), aclosing(answer.chunks(bill.deadline)) as chunks:
            yield server_sent_event(_with(memory, writer.role()))
            said: list[str] = []
            reason: FinishReason | None = None
            async for chunk in chunks:
                reason, running = chunk.finish_reason, chunk.usage if asked.continuous_usage_stats else None
                if reason is not None:
                    if memory is not None:
                        await memory.remember("".join([*said, chunk.text]))
                    bill.delivered = chunk.usage
                    await bill.close()
                if chunk.text:
                    said.append(chunk.text)
                    yield server_sent_event(writer.content(chunk.text, running))
                if reason is not None:
                    yield server_sent_event(_with(memory, writer.finish(reason, running)))
                bill.delivered = chunk.usage
        if asked.include_usage and bill.delivered is not None:
            yield server_sent_event(writer.usage(bill.delivered))
        yield DONE
    except Exception as error:  # noqa: BLE001 - the status is sent: what is left is to say it in the stream
        await _close(bill)
        known = error if isinstance(error, DomainError) else fault(error, None)
        yield server_sent_event({"error": {"message": known.message, "code": known.error_code.lower()}})
    finally:
        await _close(bill)


def _with(memory: ChatMemory | None, event: dict[str, Any]) -> dict[str, Any]:
    """Ours, beside OpenAI's fields; its clients let it pass."""
    return event if memory is None else {**event, "memory": memory.to_json()}


async def _close(bill: ChatBill) -> None:
    """A bill that can't be closed must not take the stream's last words with it; the sweep gives back its hold."""
    try:
        await bill.close()
    except Exception as error:
        log.exception("a chat could not be settled", error=str(error))
