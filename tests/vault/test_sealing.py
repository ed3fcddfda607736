import os
from uuid import UUID

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tunery.vault.envelopes import ML_KEM_1024_P384, X_WING, generate_key_pair, unwrap, wrap
from tunery.vault.sealing import (
    CHUNK,
    Sealer,
    UnsealingFailed,
    place,
    seal,
    seal_value,
    unseal,
    unseal_stream,
    unseal_value,
    unseal_with_any,
)
from tunery.vault.signatures import ML_DSA_65, SignatureRefused, Signer, generate_seed, verify

KEY = bytes(range(32))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7])
def test_what_is_sealed_opens_again(size: int):
    data = os.urandom(size)
    sealed = seal(KEY, b"here", data)
    assert unseal(KEY, b"here", sealed) == data
    assert size < 16 or data[:16] not in sealed


async def test_streams_open_whatever_the_size_of_their_parts():
    data = os.urandom(5 * CHUNK + 123)
    sealer = Sealer(KEY, b"here")
    sealed = b"".join(sealer.update(data[i : i + 1000]) for i in range(0, len(data), 1000)) + sealer.finalize()

    async def parts():
        for i in range(0, len(sealed), 777):
            yield sealed[i : i + 777]

    assert b"".join([chunk async for chunk in unseal_stream(KEY, b"here", parts())]) == data


def test_nothing_but_the_sealed_bytes_in_their_place_opens():
    sealed = seal(KEY, b"here", bytes(3 * CHUNK))
    size = CHUNK + 16
    head, chunks = sealed[:11], [sealed[11 + i * size : 11 + (i + 1) * size] for i in range(3)]
    changed = bytearray(sealed)
    changed[500] ^= 1
    for wrong in (
        sealed[:-1],
        head + chunks[0] + chunks[1],  # the end is missing
        head + chunks[1] + chunks[0] + chunks[2],  # reordered
        head + chunks[0] + chunks[0] + chunks[2],  # repeated
        bytes(changed),
        b"",
        b"XXXX" + sealed[4:],
    ):
        with pytest.raises(UnsealingFailed):
            unseal(KEY, b"here", wrong)
    with pytest.raises(UnsealingFailed):
        unseal(KEY, b"elsewhere", sealed)
    with pytest.raises(UnsealingFailed):
        unseal(bytes(32), b"here", sealed)


@given(st.binary(max_size=300), st.text(max_size=20), st.text(max_size=20))
def test_a_value_opens_in_its_place_alone(data: bytes, there: str, elsewhere: str):
    sealed = seal_value(KEY, there.encode(), data)
    assert len(sealed) == len(data) + 29
    assert unseal_value(KEY, there.encode(), sealed) == data
    assert seal_value(KEY, there.encode(), data) != sealed
    for key, where in ((KEY, elsewhere.encode() + b"/x"), (bytes(32), there.encode())):
        with pytest.raises(UnsealingFailed):
            unseal_value(key, where, sealed)


def test_a_place_is_a_table_s_column_s_row():
    row = UUID("0199f3a1-7c00-7000-8000-000000000001")
    assert place("secrets", "sealed_value", row) == b"secrets/sealed_value/0199f3a1-7c00-7000-8000-000000000001"


def test_a_value_of_another_format_is_refused():
    sealed = seal_value(KEY, b"here", b"value")
    for wrong in (b"", b"\x01", sealed[:13], sealed[:28], b"\x02" + sealed[1:], seal(KEY, b"here", b"value")):
        with pytest.raises(UnsealingFailed, match="no sealed value"):
            unseal_value(KEY, b"here", wrong)


async def test_refusals_are_logged_and_counted(refusals):
    """Each once, whatever was refused; what opens isn't."""
    sealed, stream = seal_value(KEY, b"secrets/here", b"value"), seal(KEY, b"path", bytes(2 * CHUNK))
    private, public = generate_key_pair(X_WING)
    wrapped = wrap(X_WING, KEY, public, b"info")
    before = refusals()

    async def read(content: bytes) -> None:
        async def parts():
            yield content

        async for _ in unseal_stream(KEY, b"path", parts()):
            pass

    with structlog.testing.capture_logs() as lines:
        with pytest.raises(UnsealingFailed):
            unseal_value(KEY, b"secrets/there", sealed)
        for content in (stream[:-1], stream + b"x"):
            with pytest.raises(UnsealingFailed):
                unseal(KEY, b"path", content)
            with pytest.raises(UnsealingFailed):
                await read(content)
        with pytest.raises(UnsealingFailed):
            unwrap(X_WING, wrapped, private, b"other info")
        with pytest.raises(UnsealingFailed):
            unseal_with_any([bytes(32), KEY], b"other path", stream, what="signing key")
        assert unseal_with_any([bytes(32), KEY], b"path", stream, what="signing key") == bytes(2 * CHUNK)
        await read(stream)
    counted = {what: count - before.get(what, 0) for what, count in refusals().items()}
    assert {what: count for what, count in counted.items() if count} == {
        "value": 1, "stream": 4, "data key": 1, "signing key": 1
    }  # fmt: skip
    assert [(line["log_level"], line["what"], line["context"]) for line in lines] == [
        ("warning", "value", "secrets/there"),
        *[("warning", "stream", "path")] * 4,
        ("warning", "data key", "other info"),
        ("warning", "signing key", "other path"),
    ]


@pytest.mark.parametrize(("suite", "sizes"), [(X_WING, (96, 1216, 1168)), (ML_KEM_1024_P384, (112, 1665, 1713))])
def test_a_wrapped_key_opens_for_its_recipient_and_purpose_alone(suite: str, sizes: tuple[int, int, int]):
    private, public = generate_key_pair(suite)
    other, _ = generate_key_pair(suite)
    wrapped = wrap(suite, KEY, public, b"tenant 1, data set 2")
    assert (len(private), len(public), len(wrapped)) == sizes
    assert unwrap(suite, wrapped, private, b"tenant 1, data set 2") == KEY
    for key, info in ((other, b"tenant 1, data set 2"), (private, b"tenant 1, data set 3")):
        with pytest.raises(UnsealingFailed):
            unwrap(suite, wrapped, key, info)


def test_a_signature_holds_for_its_message_key_and_context_alone():
    signer, other = Signer(ML_DSA_65, generate_seed()), Signer(ML_DSA_65, generate_seed())
    signature = signer.sign(b"manifest", "adapter")
    verify(b"manifest", signature, signer.public_key, "adapter")
    for message, changed, key, context in (
        (b"Manifest", signature, signer.public_key, "adapter"),
        (b"manifest", signature, other.public_key, "adapter"),
        (b"manifest", signature, signer.public_key, "audit"),
        (b"manifest", {**signature, "algorithm": "none"}, signer.public_key, "adapter"),
        (b"manifest", {**signature, "signature": "AAAA"}, signer.public_key, "adapter"),
        (b"manifest", {"algorithm": ML_DSA_65}, signer.public_key, "adapter"),
    ):
        with pytest.raises(SignatureRefused):
            verify(message, changed, key, context)
