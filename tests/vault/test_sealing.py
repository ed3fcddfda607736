import os

import pytest

from tunery.vault.envelopes import generate_key_pair, unwrap, wrap
from tunery.vault.sealing import CHUNK, Sealer, UnsealingFailed, seal, unseal, unseal_stream
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


def test_a_wrapped_key_opens_for_its_recipient_and_purpose_alone():
    private, public = generate_key_pair()
    other, _ = generate_key_pair()
    wrapped = wrap(KEY, public, b"tenant 1, data set 2")
    assert (len(private), len(public), len(wrapped)) == (96, 1216, 1168)
    assert unwrap(wrapped, private, b"tenant 1, data set 2") == KEY
    for key, info in ((other, b"tenant 1, data set 2"), (private, b"tenant 1, data set 3")):
        with pytest.raises(UnsealingFailed):
            unwrap(wrapped, key, info)


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
