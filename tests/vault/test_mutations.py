"""10,000 ciphertexts that somebody changed: 10,000 refusals."""

import random
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from tunery.vault.envelopes import SUITES, generate_key_pair, unwrap, wrap
from tunery.vault.keyring import Keyring, NewestKey, WrappedKey, data_key_fingerprint, tenant_key_context
from tunery.vault.root_keys import LocalRootKey, RootKeys
from tunery.vault.sealing import CHUNK, UnsealingFailed, seal, seal_value, unseal, unseal_value

KEYS = [bytes([number]) * 32 for number in range(2)]
SIZES = (0, 0, 1, 15, 16, 16, 17, 100, 1000)
STREAM_SIZES = (0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 50)
_PAIRS = {suite: [generate_key_pair(suite) for _ in range(2)] for suite in SUITES}


class Kind:
    """A way to seal: good ones, each in a place of its own, with what opens it."""

    def __init__(
        self,
        name: str,
        sealed: list[tuple[bytes, Callable[[bytes], bytes | Awaitable[bytes]]]],
        segments: list[int],
    ) -> None:
        self.name = name
        self.sealed = sealed
        self.segments = segments


async def open_it(opener: Callable[[bytes], bytes | Awaitable[bytes]], sealed: bytes) -> None:
    opened = opener(sealed)
    if not isinstance(opened, bytes):
        await opened


async def rows_of_data_keys(chance: random.Random, suite: str) -> Kind:
    """What stands in `data_keys.wrapped_key`, opened as the keyring opens its rows."""
    keyring, tenant_id = Keyring(RootKeys([LocalRootKey(bytes(32))])), UUID(int=1)
    rows = []
    for version, (private, _public) in enumerate(_PAIRS[suite], 1):
        root_key, sealed = await keyring.root_keys.seal(tenant_key_context(tenant_id, version), private)
        newest = NewestKey(UUID(int=version), version, suite, private)
        for number in range(3):
            identifier, purpose, key = UUID(int=10 * version + number), f"subject {number}", chance.randbytes(32)
            known_as = data_key_fingerprint(key)

            def opener(
                wrapped: bytes,
                before: tuple[UUID, str, str] = (identifier, purpose, suite),
                after: tuple[str, int, str, str, bytes, None] = (known_as, version, suite, root_key, sealed, None),
            ) -> Awaitable[bytes]:
                return keyring.open_wrapped(tenant_id, WrappedKey(*before, wrapped, *after))

            rows.append((newest.wrap(tenant_id, identifier, purpose, key), opener))
    return Kind(f"row of {suite}", rows, [0, 1120, 1168, 1568, 1713])


async def kinds(chance: random.Random) -> list[Kind]:
    places = [f"memories/sealed_content/{number}".encode() for number in range(10)]
    values = [
        (
            seal_value(key, there, chance.randbytes(size)),
            lambda sealed, key=key, there=there: unseal_value(key, there, sealed),
        )
        for key in KEYS
        for there, size in zip(places, SIZES, strict=False)
    ]
    streams = [
        (seal(key, there, chance.randbytes(size)), lambda sealed, key=key, there=there: unseal(key, there, sealed))
        for key in KEYS
        for there, size in zip(places, STREAM_SIZES, strict=False)
    ]
    found = [Kind("value", values, [0, 1, 13]), Kind("stream", streams, [0, 4, 11, 11 + CHUNK + 16])]
    for suite, pairs in _PAIRS.items():
        wrapped = [
            (
                wrap(suite, chance.randbytes(32), public, there),
                lambda sealed, suite=suite, private=private, there=there: unwrap(suite, sealed, private, there),
            )
            for private, public in pairs
            for there in places[:3]
        ]
        found.append(Kind(suite, wrapped, [0, 1120, 1568]))
        found.append(await rows_of_data_keys(chance, suite))
    return found


def flip_bits(chance: random.Random, good: bytes, _kind: Kind) -> bytes:
    changed = bytearray(good)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncate(chance: random.Random, good: bytes, kind: Kind) -> bytes:
    ends = [end for end in (*kind.segments, len(good) - 1, len(good) - 16, len(good) - 32) if 0 <= end < len(good)]
    return good[: chance.choice((chance.randrange(len(good)), *ends))]


def behead(chance: random.Random, good: bytes, _kind: Kind) -> bytes:
    return good[chance.randrange(1, len(good) + 1) :]


def extend(chance: random.Random, good: bytes, kind: Kind) -> bytes:
    more = chance.choice((b"\0", chance.randbytes(chance.randrange(1, 40)), good, chance.choice(kind.sealed)[0]))
    return chance.choice((good + more, more + good))


def drop(chance: random.Random, good: bytes, _kind: Kind) -> bytes:
    begin = chance.randrange(len(good))
    return good[:begin] + good[begin + chance.randrange(1, 80) :]


def swap(chance: random.Random, good: bytes, kind: Kind) -> bytes:
    """Another one whole, or its beginning and this one's end: both are good elsewhere."""
    other = chance.choice(kind.sealed)[0]
    cut = chance.choice((0, *kind.segments))
    return chance.choice((other, good[:cut] + other[cut:]))


def reorder(chance: random.Random, good: bytes, _kind: Kind) -> bytes:
    size = chance.choice((1, 16, CHUNK + 16))
    begin = 11 if size > CHUNK else 0
    parts = [good[i : i + size] for i in range(begin, len(good), size)]
    one, two = chance.randrange(len(parts)), chance.randrange(len(parts))
    parts[one], parts[two] = parts[two], parts[one]
    return good[:begin] + b"".join(parts)


def noise(chance: random.Random, good: bytes, _kind: Kind) -> bytes:
    return good[:1] + chance.randbytes(chance.choice((0, len(good) - 1, chance.randrange(2000))))


MUTATIONS = (flip_bits, truncate, behead, extend, drop, swap, reorder, noise)
COUNT = 10_000


async def test_every_changed_ciphertext_is_refused(refusals):
    chance = random.Random(4)  # noqa: S311 - the same ones each time
    before = sum(refusals().values())
    refused: dict[str, int] = {}
    all_kinds = await kinds(chance)
    for kind in all_kinds:
        for good, opener in kind.sealed:
            await open_it(opener, good)
    while sum(refused.values()) < COUNT:
        # Streams are long: a tenth of all.
        kind = chance.choices(all_kinds, (3, 1, 2, 2, 1, 1))[0]
        good, opener = chance.choice(kind.sealed)
        changed = chance.choice(MUTATIONS)(chance, good, kind)
        if changed == good:
            continue
        with pytest.raises(UnsealingFailed):
            await open_it(opener, changed)
        refused[kind.name] = refused.get(kind.name, 0) + 1
    assert len(refused) == 6
    assert min(refused.values()) > 900
    assert sum(refusals().values()) - before == COUNT
