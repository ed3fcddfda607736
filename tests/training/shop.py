"""A data set of an invented shop, small enough to train on within a test."""

import json
from collections.abc import AsyncIterator

ROWS = 24


def jsonl(rows: int = ROWS) -> bytes:
    lines = []
    for row in range(rows):
        question, answer = f"How long is lamp {row} guaranteed?", f"Lamp {row} is guaranteed for {row % 7 + 2} years."
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": turns}))
    return "\n".join(lines).encode()


async def chunks(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
