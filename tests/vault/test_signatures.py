import asyncio
import base64
import random
from collections.abc import AsyncIterator
from typing import Any, get_args

import asyncpg
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tunery.app.compose import compose
from tunery.app.doctor import check_signatures
from tunery.app.embedded.errors import CannotStart
from tunery.app.migrate import migrate
from tunery.app.settings import Settings
from tunery.app.up import migrate_or_explain
from tunery.core.clock import SystemClock
from tunery.core.database import UnitOfWork, sqlalchemy_url
from tunery.core.errors import InvalidInput
from tunery.vault import liboqs
from tunery.vault.keyring import Keyring
from tunery.vault.models import SigningKey
from tunery.vault.signatures import (
    ALGORITHMS,
    FALCON_512,
    FALCON_1024,
    ML_DSA_65,
    ML_DSA_87,
    SignatureRefused,
    Signer,
    algorithm_of,
    fingerprint,
    generate_signer,
    verify,
)

MESSAGE = b'{"name":"support"}'
BOTH = (ML_DSA_65, ML_DSA_87)


@pytest.mark.parametrize("algorithm", BOTH)
def test_a_signature_has_its_algorithms_sizes_and_holds(algorithm: str):
    signer = generate_signer(algorithm)
    signature = signer.sign(MESSAGE, "tunery-adapter/1")
    known = ALGORITHMS[algorithm]
    assert (signature["algorithm"], signature["context"]) == (algorithm, "tunery-adapter/1")
    assert signature["key"] == fingerprint(signer.public_key)
    assert len(base64.b64decode(signature["public_key"])) == known.public_key_bytes == len(signer.public_key)
    assert len(base64.b64decode(signature["signature"])) == known.signature_bytes
    verify(MESSAGE, signature, signer.public_key, "tunery-adapter/1")
    assert algorithm_of(signer.public_key) is known


@pytest.mark.parametrize(
    ("algorithm", "beginning", "name"),
    [
        (ML_DSA_65, "48683d91978e31eb3dddb8b0473482d2", "d666806e11cee19a7c989f7445f90dd4"),
        (ML_DSA_87, "9792bcec2f2430686a82fccf3c2f5ff6", "91dc389cfaa01470b7f66eee45a4ae90"),
    ],
)
def test_a_stored_seed_stays_the_same_key(algorithm: str, beginning: str, name: str):
    """The seed and the public keys of RFC 9881's examples: what follows from stored seeds is what others have kept."""
    signer = Signer(algorithm, bytes(range(32)))
    assert signer.public_key.hex().startswith(beginning)
    assert fingerprint(signer.public_key) == name


@pytest.mark.parametrize("algorithm", BOTH)
def test_each_changed_signature_is_refused(algorithm: str):
    signer, chance = generate_signer(algorithm), random.Random(4)  # noqa: S311 - the same at each run
    signature = signer.sign(MESSAGE, "x")
    raw = base64.b64decode(signature["signature"])
    refused = 0
    for _ in range(300):
        changed = bytearray(raw)
        changed[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        with pytest.raises(SignatureRefused, match="does not match"):
            verify(MESSAGE, {**signature, "signature": base64.b64encode(changed).decode()}, signer.public_key, "x")
        refused += 1
    assert refused == 300
    for other in (raw[:-1], raw + b"\0", raw[1:], bytes(len(raw))):
        with pytest.raises(SignatureRefused, match="does not match"):
            verify(MESSAGE, {**signature, "signature": base64.b64encode(other).decode()}, signer.public_key, "x")


def test_what_a_signature_says_of_itself_must_be_true():
    signer, other, large = generate_signer(), generate_signer(), generate_signer(ML_DSA_87)
    signature = signer.sign(MESSAGE, "adapter")
    elsewhere = signer.sign(MESSAGE, "erasure")
    cases = [
        (MESSAGE + b" ", signature, signer.public_key, "adapter", "does not match"),
        (MESSAGE, signature, signer.public_key, "erasure", "is for 'adapter', not for 'erasure'"),
        (MESSAGE, {**elsewhere, "context": "adapter"}, signer.public_key, "adapter", "does not match"),
        (MESSAGE, signature, other.public_key, "adapter", "names the key"),
        (MESSAGE, signature, large.public_key, "adapter", "ML-DSA-65, which this key is not"),
        (MESSAGE, signature, signer.public_key[:-1], "adapter", "which this key is not"),
        (MESSAGE, {**signature, "key": "0" * 32}, signer.public_key, "adapter", "names the key '000"),
        (MESSAGE, {**signature, "public_key": "AAAA"}, signer.public_key, "adapter", "public key in the signature"),
        (MESSAGE, {**signature, "algorithm": ML_DSA_87}, signer.public_key, "adapter", "which this key is not"),
        (MESSAGE, {**signature, "algorithm": "RSA"}, signer.public_key, "adapter", "unknown signature algorithm 'RSA'"),
        (MESSAGE, {**signature, "signature": ""}, signer.public_key, "adapter", "plain base64"),
        (MESSAGE, {**signature, "signature": signature["signature"] + "\n"}, signer.public_key, "adapter", "base64"),
        (MESSAGE, {**signature, "signature": 7}, signer.public_key, "adapter", "consists of"),
        (MESSAGE, {**signature, "more": ""}, signer.public_key, "adapter", "consists of"),
        (MESSAGE, {}, signer.public_key, "adapter", "consists of"),
    ]
    for message, changed, key, context, reason in cases:
        with pytest.raises(SignatureRefused, match=reason):
            verify(message, changed, key, context)
    verify(MESSAGE, signature, signer.public_key, "adapter")


def test_spare_bits_of_base64_do_not_make_a_second_form():
    signer = generate_signer(ML_DSA_87)
    signature = signer.sign(MESSAGE, "x")
    text = signature["signature"]
    assert text.endswith("=")
    last = text.rstrip("=")[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text.rstrip("=")[:-1] + alphabet[alphabet.index(last) ^ 1] + "=" * text.count("=")
    assert base64.b64decode(other) == base64.b64decode(text)
    with pytest.raises(SignatureRefused, match="plain base64"):
        verify(MESSAGE, {**signature, "signature": other}, signer.public_key, "x")


def test_a_context_has_at_most_255_bytes():
    signer = generate_signer()
    verify(MESSAGE, signer.sign(MESSAGE, "é" * 127), signer.public_key, "é" * 127)
    with pytest.raises(ValueError, match="at most 255 bytes, not 256"):
        signer.sign(MESSAGE, "é" * 128)
    signature = {**signer.sign(MESSAGE, "x"), "context": "x" * 256}
    with pytest.raises(SignatureRefused, match="does not match"):
        verify(MESSAGE, signature, signer.public_key, "x" * 256)


def test_keys_that_belong_to_no_algorithm_are_refused_with_what_is_known():
    with pytest.raises(InvalidInput, match=r"31 bytes belongs to no known algorithm: 1,952 \(ML-DSA-65\), 2,592"):
        algorithm_of(bytes(31))
    with pytest.raises(InvalidInput, match="unknown signature algorithm 'RSA'; known are ML-DSA-65, ML-DSA-87, Falcon"):
        generate_signer("RSA")
    with pytest.raises(InvalidInput, match="Falcon-512 is made by liboqs, not by 'cryptography'"):
        generate_signer(FALCON_512, "cryptography")
    with pytest.raises(ValueError, match="isn't the private key's"):
        Signer(ML_DSA_65, bytes(32), generate_signer().public_key)
    with pytest.raises(ValueError, match="needs its public key, 897 bytes"):
        Signer(FALCON_512, bytes(1281))


def test_the_setting_offers_what_is_known_and_says_what_is_experimental():
    field = Settings.model_fields["signature_algorithm"]
    assert get_args(field.annotation) == tuple(ALGORITHMS)
    assert [name for name, known in ALGORITHMS.items() if known.experimental] == ["Falcon-512", "Falcon-1024"]
    for known in ALGORITHMS.values():
        assert known.experimental == ("experimental" in known.description) == ("FIPS" not in known.description)


def none_here() -> Any:
    raise liboqs.LiboqsMissing("none here")


def test_the_doctor_says_what_the_algorithm_lacks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(liboqs, "load", none_here)
    found = check_signatures(Settings(_env_file=None))
    assert (found.state, found.text) == ("ok", "ML-DSA-65 (FIPS 204)")
    found = check_signatures(Settings(_env_file=None, signature_algorithm="Falcon-1024"))
    assert (found.state, found.text) == ("failed", ALGORITHMS[FALCON_1024].description)
    assert "pip install 'tunery[pq]'" in found.advice
    monkeypatch.setattr(liboqs, "describe", lambda: "liboqs 0.16.0")
    found = check_signatures(Settings(_env_file=None, signature_algorithm="Falcon-1024"))
    assert (found.state, found.text) == ("note", f"{ALGORITHMS[FALCON_1024].description}; liboqs 0.16.0")


@pytest.fixture
async def installation(settings: Settings) -> AsyncIterator[Settings]:
    """A second database of the same installation: its signing keys are nobody else's."""
    owner = await asyncpg.connect(settings.database_url)
    await owner.execute("CREATE DATABASE signing_keys")
    yield settings.model_copy(update={"database_url": settings.database_url.rpartition("/")[0] + "/signing_keys"})
    await owner.execute("DROP DATABASE signing_keys WITH (FORCE)")
    await owner.close()


async def newest_first(settings: Settings) -> list[SigningKey]:
    engine = create_async_engine(sqlalchemy_url(settings.database_url))
    async with AsyncSession(engine) as session:
        rows = await session.scalars(select(SigningKey).order_by(SigningKey.created_at.desc()))
        found = list(rows)
    await engine.dispose()
    return found


async def sign(settings: Settings) -> dict[str, str]:
    """By the installation's signer, as its processes have it."""
    async with compose(settings, SystemClock()) as services:
        engine = create_async_engine(sqlalchemy_url(settings.database_url))
        async with AsyncSession(engine) as session:
            signer = await services.get(Keyring).signer(UnitOfWork(session, SystemClock()))
        await engine.dispose()
    return signer.sign(MESSAGE, "adapter")


@pytest.mark.parametrize("algorithm", [ML_DSA_87, FALCON_512])
async def test_another_algorithm_makes_a_new_key_and_keeps_the_old_ones(installation: Settings, algorithm: str):
    if ALGORITHMS[algorithm].experimental:
        try:
            liboqs.load()
        except liboqs.LiboqsMissing as error:
            pytest.skip(error.message)
    await asyncio.to_thread(migrate, installation)
    first = await sign(installation)
    other = installation.model_copy(update={"signature_algorithm": algorithm})
    for _ in range(2):
        await asyncio.to_thread(migrate, other)
    second = await sign(installation)
    assert (first["algorithm"], second["algorithm"]) == (ML_DSA_65, algorithm)
    rows = await newest_first(installation)
    assert [row.algorithm for row in rows] == [algorithm, ML_DSA_65]
    for signature, row in ((second, rows[0]), (first, rows[1])):
        verify(MESSAGE, signature, row.public_key, "adapter")


async def test_without_liboqs_an_installation_does_not_turn_to_falcon(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
):
    await asyncio.to_thread(migrate, installation)
    before = [row.id for row in await newest_first(installation)]
    monkeypatch.setattr(liboqs, "load", none_here)
    falcon = installation.model_copy(update={"signature_algorithm": FALCON_512})
    with pytest.raises(CannotStart, match=r"none here\. Falcon.*pip install 'tunery\[pq\]'"):
        await asyncio.to_thread(migrate_or_explain, falcon)
    assert [row.id for row in await newest_first(installation)] == before
    assert (await sign(installation))["algorithm"] == ML_DSA_65
