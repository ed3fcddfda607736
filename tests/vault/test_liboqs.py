"""liboqs beside pyca/cryptography: each takes what the other made. And a machine without it, which lacks nothing else."""

import base64
import ctypes
import itertools
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.bindings import _rust

from tunery.vault import liboqs
from tunery.vault.kems import (
    ML_KEM_768,
    ML_KEM_1024,
    KemRefused,
    decapsulate,
    encapsulate,
    generate_kem_key_pair,
)
from tunery.vault.liboqs import LiboqsMissing, with_context
from tunery.vault.signatures import (
    ALGORITHMS,
    FALCON_512,
    FALCON_1024,
    ML_DSA_65,
    ML_DSA_87,
    SignatureRefused,
    Signer,
    fingerprint,
    generate_signer,
    verify,
)

ROOT = Path(__file__).parents[2]
MESSAGE = b'{"name":"support"}'
PROVIDERS = ("cryptography", "liboqs")
DIRECTIONS = tuple(itertools.product(PROVIDERS, repeat=2))
FALCONS = (FALCON_512, FALCON_1024)


def missing() -> str:
    try:
        liboqs.load()
    except LiboqsMissing as error:
        return error.message
    return ""


needs_liboqs = pytest.mark.skipif(bool(missing()), reason=missing())


@needs_liboqs
@pytest.mark.parametrize(("ours", "theirs"), DIRECTIONS)
@pytest.mark.parametrize("algorithm", [ML_KEM_768, ML_KEM_1024])
def test_what_one_provider_encapsulates_the_other_decapsulates(algorithm: str, ours: str, theirs: str):
    pair = generate_kem_key_pair(algorithm, ours)
    found = encapsulate(algorithm, pair.public_key, theirs)
    assert decapsulate(algorithm, pair.private_key, found.ciphertext, ours) == found.secret
    assert len(found.secret) == 32
    assert encapsulate(algorithm, pair.public_key, theirs).secret != found.secret


@needs_liboqs
@pytest.mark.parametrize("algorithm", [ML_KEM_768, ML_KEM_1024])
def test_both_providers_reject_a_changed_ciphertext_with_the_same_secret(algorithm: str):
    """FIPS 203 rejects implicitly: by a secret that follows from the key's seed and the ciphertext alone."""
    import oqs

    ours = generate_kem_key_pair(algorithm)
    with oqs.KeyEncapsulation(algorithm) as mechanism:
        assert mechanism.generate_keypair_seed(ours.private_key) == ours.public_key
        theirs = mechanism.export_secret_key()
    found, chance = encapsulate(algorithm, ours.public_key), random.Random(4)  # noqa: S311 - the same at each run
    for _ in range(200):
        changed = bytearray(found.ciphertext)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        secret = decapsulate(algorithm, ours.private_key, bytes(changed))
        assert secret == decapsulate(algorithm, theirs, bytes(changed), "liboqs") != found.secret


@needs_liboqs
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("algorithm", [ML_KEM_768, ML_KEM_1024])
def test_keys_and_ciphertexts_of_another_length_are_refused(algorithm: str, provider: str):
    pair = generate_kem_key_pair(algorithm, provider)
    ciphertext = encapsulate(algorithm, pair.public_key, provider).ciphertext
    for wrong in (b"", pair.public_key[:-1], pair.public_key + b"\0", b"\xff" * len(pair.public_key)):
        with pytest.raises(KemRefused):
            encapsulate(algorithm, wrong, provider)
    for wrong in (b"", ciphertext[:-1], ciphertext + b"\0"):
        with pytest.raises(KemRefused):
            decapsulate(algorithm, pair.private_key, wrong, provider)
    for wrong in (b"", pair.private_key[:-1], pair.private_key + b"\0"):
        with pytest.raises(KemRefused):
            decapsulate(algorithm, wrong, ciphertext, provider)


@needs_liboqs
@pytest.mark.parametrize(("ours", "theirs"), DIRECTIONS)
@pytest.mark.parametrize("algorithm", [ML_DSA_65, ML_DSA_87])
@pytest.mark.parametrize("context", ["", "tunery-adapter/1", "x" * 255])
def test_what_one_provider_signs_the_other_verifies(algorithm: str, ours: str, theirs: str, context: str):
    signer = generate_signer(algorithm, ours)
    for message in (b"", MESSAGE, bytes(100_000)):
        signature = signer.sign(message, context)
        verify(message, signature, signer.public_key, context, theirs)
        for changed, elsewhere in ((message + b"\0", context), (message, f"{context[1:]}y")):
            with pytest.raises(SignatureRefused, match="does not match"):
                verify(changed, {**signature, "context": elsewhere}, signer.public_key, elsewhere, theirs)


@needs_liboqs
@pytest.mark.parametrize(
    ("algorithm", "provider"),
    [(name, provider) for name, known in ALGORITHMS.items() for provider in known.providers],
)
def test_each_changed_signature_is_refused_by_every_provider(algorithm: str, provider: str):
    """Whoever made it: 500 with a bit changed, and those with bytes too many or too few."""
    known, chance = ALGORITHMS[algorithm], random.Random(4)  # noqa: S311 - the same at each run
    signer = generate_signer(algorithm, provider)
    signature = signer.sign(MESSAGE, "x")
    raw = base64.b64decode(signature["signature"])
    changed = [raw[:-1], raw[:41], raw[:1], raw + b"\0", raw + b"\1", raw + bytes(2_000), raw[1:], bytes(len(raw))]
    for _ in range(500):
        other = bytearray(raw)
        other[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        changed.append(bytes(other))
    refused = 0
    for other, judge in itertools.product(changed, known.providers):
        with pytest.raises(SignatureRefused, match="does not match"):
            verify(MESSAGE, {**signature, "signature": _base64(other)}, signer.public_key, "x", judge)
        refused += 1
    assert refused == 508 * len(known.providers)
    for judge in known.providers:
        verify(MESSAGE, signature, signer.public_key, "x", judge)


@needs_liboqs
@pytest.mark.parametrize("algorithm", FALCONS)
def test_falcon_signs_the_context_before_the_message(algorithm: str):
    """Byte for byte as the format says, so that any implementation of Falcon verifies it."""
    import oqs

    signer = generate_signer(algorithm)
    signature = signer.sign(MESSAGE, "tunery-adapter/1")
    known, raw = ALGORITHMS[algorithm], base64.b64decode(signature["signature"])
    assert len(signer.public_key) == known.public_key_bytes
    assert 41 < len(raw) <= known.signature_bytes
    verify(MESSAGE, signature, signer.public_key, "tunery-adapter/1")
    with oqs.Signature(algorithm) as falcon:
        assert falcon.verify(b"\x00\x10tunery-adapter/1" + MESSAGE, raw, signer.public_key)
        assert not falcon.verify(MESSAGE, raw, signer.public_key)
    # The same bytes, cut elsewhere.
    assert with_context(MESSAGE, b"tunery-adapter/1") == b"\x00\x10tunery-adapter/1" + MESSAGE
    moved = {**signature, "context": "tunery-adapter/"}
    with pytest.raises(SignatureRefused, match="does not match"):
        verify(b"1" + MESSAGE, moved, signer.public_key, "tunery-adapter/")
    other = generate_signer(algorithm).public_key
    claimed = {**signature, "key": fingerprint(other), "public_key": _base64(other)}
    with pytest.raises(SignatureRefused, match="does not match"):
        verify(MESSAGE, claimed, other, "tunery-adapter/1")


@needs_liboqs
def test_a_falcon_signature_has_one_form():
    """liboqs takes it filled with zeros to 666 bytes, too; then anybody could make a second one of it."""
    import oqs

    signer = generate_signer(FALCON_512)
    signature = signer.sign(MESSAGE, "x")
    raw = base64.b64decode(signature["signature"])
    while len(raw) >= 666:
        signature = signer.sign(MESSAGE, "x")
        raw = base64.b64decode(signature["signature"])
    filled = raw.ljust(666, b"\0")
    with oqs.Signature(FALCON_512) as falcon:
        assert falcon.verify(with_context(MESSAGE, b"x"), filled, signer.public_key)
    with pytest.raises(SignatureRefused, match="does not match"):
        verify(MESSAGE, {**signature, "signature": _base64(filled)}, signer.public_key, "x")
    assert not any(base64.b64decode(signer.sign(MESSAGE, "x")["signature"]).endswith(b"\0") for _ in range(300))


@needs_liboqs
@pytest.mark.parametrize(
    ("algorithm", "provider"),
    [(name, provider) for name, known in ALGORITHMS.items() for provider in known.providers],
)
def test_a_longer_context_is_refused_by_every_provider(algorithm: str, provider: str):
    signer = generate_signer(algorithm, provider)
    with pytest.raises(ValueError, match="at most 255 bytes, not 256"):
        signer.sign(MESSAGE, "x" * 256)
    signature = {**signer.sign(MESSAGE, "x"), "context": "x" * 256}
    with pytest.raises(SignatureRefused, match="does not match"):
        verify(MESSAGE, signature, signer.public_key, "x" * 256, provider)


@needs_liboqs
def test_a_shorter_public_key_is_not_filled_with_zeros():
    signer = generate_signer(ML_DSA_65, "liboqs")
    while not signer.public_key.endswith(b"\0"):
        signer = generate_signer(ML_DSA_65, "liboqs")
    signature = base64.b64decode(signer.sign(MESSAGE, "x")["signature"])
    assert liboqs.verify(ML_DSA_65, signer.public_key, MESSAGE, signature, b"x")
    assert not liboqs.verify(ML_DSA_65, signer.public_key[:-1], MESSAGE, signature, b"x")


@needs_liboqs
def test_private_keys_stay_with_their_provider():
    ours, theirs = generate_signer(ML_DSA_65), generate_signer(ML_DSA_65, "liboqs")
    assert (len(ours.private_key), len(theirs.private_key)) == (32, 4032)
    with pytest.raises(ValueError, match="32"):
        Signer(ML_DSA_65, theirs.private_key, theirs.public_key, "cryptography")
    with pytest.raises(ValueError, match="4032 bytes long"):
        Signer(ML_DSA_65, ours.private_key, ours.public_key, "liboqs").sign(MESSAGE, "x")


@needs_liboqs
def test_the_import_says_nothing_on_standard_output():
    result = python("from tunery.vault import liboqs; print(liboqs.describe())", **os.environ)
    assert result.stdout.startswith("liboqs ")
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


WITHOUT = """
import ctypes.util, sys
ctypes.util.find_library = lambda name: None
"""
USE = """
import tunery.app.application, tunery.app.cli, tunery.app.processes
from tunery.vault import kems, liboqs, signatures
for attempt in (
    lambda: signatures.generate_signer("Falcon-512"),
    lambda: signatures.generate_signer("ML-DSA-65", "liboqs"),
    lambda: kems.generate_kem_key_pair("ML-KEM-768", "liboqs"),
):
    try:
        attempt()
    except liboqs.LiboqsMissing as error:
        print(error.message)
signer = signatures.generate_signer()
signatures.verify(b"m", signer.sign(b"m", "x"), signer.public_key, "x")
pair = kems.generate_kem_key_pair("ML-KEM-768")
found = kems.encapsulate("ML-KEM-768", pair.public_key)
print(kems.decapsulate("ML-KEM-768", pair.private_key, found.ciphertext) == found.secret)
"""
INSTALL = "pip install 'tunery[pq]'` and the liboqs C library 0.14 or newer"


def test_without_the_package_the_error_says_what_to_install_and_all_else_works(tmp_path: Path):
    result = python(f"import sys\nsys.modules['oqs'] = None\n{USE}", HOME=str(tmp_path))
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stderr
    assert lines[3:] == ["True"]
    assert all("liboqs-python is not installed" in line and INSTALL in line for line in lines[:3])
    assert "OQS_INSTALL_PATH" in lines[0]


@pytest.mark.parametrize("kind", ["nothing", "rubbish", "another library"])
def test_without_the_c_library_the_package_is_not_imported(tmp_path: Path, kind: str):
    """Its import would count down, clone, build, and end the process: here it would leave a file."""
    package, installed = tmp_path / "site" / "oqs", tmp_path / "oqs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w'); raise SystemExit(1)\n")
    (installed / "lib").mkdir(parents=True)
    expected = "the liboqs C library was not found"
    if kind == "rubbish":
        (installed / "lib" / "liboqs.so").write_bytes(b"rubbish")
        (installed / "lib" / "liboqs.dylib").write_bytes(b"rubbish")
    elif kind == "another library":
        expected = "is no liboqs C library"
        for suffix in (".so", ".dylib"):
            (installed / "lib" / f"liboqs{suffix}").symlink_to(_rust.__file__)
    began = time.monotonic()
    result = python(WITHOUT + USE, HOME=str(tmp_path), OQS_INSTALL_PATH=str(installed), more=str(package.parent))
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[3:] == ["True"]
    assert all(expected in line and INSTALL in line for line in lines[:3])
    assert not (tmp_path / "imported").exists()
    assert time.monotonic() - began < 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["oqs", "site"]


@pytest.mark.parametrize(
    ("version", "accepted"), [("0.13.1", False), ("0.9.0", False), ("0.14.0", True), ("1.0.0", True)]
)
def test_an_older_c_library_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, accepted: bool):
    (tmp_path / "oqs.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "oqs", raising=False)
    monkeypatch.setattr(liboqs, "_find_library", lambda: ("/lib/liboqs.so", ctypes.CDLL(None)))
    monkeypatch.setattr(liboqs, "_version_of", lambda *_found: version)
    load = liboqs.load.__wrapped__
    try:
        if accepted:
            assert load().__file__ == str(tmp_path / "oqs.py")
        else:
            with pytest.raises(LiboqsMissing, match=f"liboqs.so is version {version}, too old.*0.14 or newer"):
                load()
            assert "oqs" not in sys.modules
    finally:
        sys.modules.pop("oqs", None)


def python(program: str, *, more: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """In an environment of its own, so that what this process has imported or set counts for nothing."""
    path = os.pathsep.join(filter(None, (str(ROOT), more, environment.pop("PYTHONPATH", ""))))
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, **environment, "PYTHONPATH": path},
        timeout=120,
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
