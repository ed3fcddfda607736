"""The second provider of post-quantum cryptography: the C library liboqs, by liboqs-python (extra `pq`).

liboqs-python looks for the library when it is imported. Where it finds none it counts down, clones and builds one, and
ends the process when that fails. So the library is looked for here, in the same places, before anything is imported.
"""

import ctypes
import ctypes.util
import functools
import importlib.util
import logging
import os
import platform
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunery.core.errors import Unavailable

OLDEST = (0, 14)
"""The oldest release of the C library whose functions and structures are those that we call."""

_SUFFIXES = {"Darwin": ".dylib", "Windows": ".dll"}
_FALCON = "Falcon-"


class LiboqsMissing(Unavailable):
    """What was asked for needs liboqs, and there is none that can be used here. The message says what to install."""

    code = "LIBOQS_MISSING"

    def __init__(self, problem: str) -> None:
        oldest = ".".join(map(str, OLDEST))
        super().__init__(
            f"{problem}. Falcon, and post-quantum cryptography by liboqs, need `pip install 'tunery[pq]'` and the"
            f" liboqs C library {oldest} or newer as a shared library: your system's package (liboqs), or built with"
            " cmake and -DBUILD_SHARED_LIBS=ON; OQS_INSTALL_PATH names the folder that it was installed in, unless"
            " that is a system folder"
        )


@functools.cache
def load() -> Any:
    """The module `oqs`, with its C library. Raises LiboqsMissing, and never downloads or builds anything."""
    found = importlib.util.find_spec("oqs")
    if found is None or found.origin is None:
        raise LiboqsMissing("the package liboqs-python is not installed")
    place, library = _find_library()
    version = _version_of(place, library)
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        raise LiboqsMissing(f"the liboqs C library {place} is version {version}, too old")
    # It would tell standard output, which belongs to our commands, about its fault handler.
    logging.getLogger("oqs.oqs").disabled = True
    try:
        with warnings.catch_warnings():
            # That the two halves have different versions is no fault: the functions in use are older than both.
            warnings.simplefilter("ignore")
            import oqs
    except (ImportError, AttributeError, SystemExit) as error:
        raise LiboqsMissing(f"liboqs-python cannot be imported: {error}") from error
    return oqs


def describe() -> str:
    """Versions of both halves. Raises LiboqsMissing."""
    oqs = load()
    return f"liboqs {oqs.oqs_version()}, liboqs-python {oqs.oqs_python_version()}"


def generate_signing_pair(algorithm: str) -> tuple[bytes, bytes]:
    """Private key, in liboqs's expanded form, and public key."""
    with _signature(algorithm) as mechanism:
        public = mechanism.generate_keypair()
        return mechanism.export_secret_key(), public


def sign(algorithm: str, private_key: bytes, message: bytes, context: bytes) -> bytes:
    """`context` has at most 255 bytes. Raises ValueError for a private key of another length."""
    with _signature(algorithm, private_key) as mechanism:
        if algorithm.startswith(_FALCON):
            return bytes(mechanism.sign(with_context(message, context)))
        return bytes(mechanism.sign_with_ctx_str(message, context))


def verify(algorithm: str, public_key: bytes, message: bytes, signature: bytes, context: bytes) -> bool:
    """Whether the signature is this key's over message and context."""
    with _signature(algorithm) as mechanism:
        # liboqs-python fills a short key with zeros, and hands a longer signature over as it is.
        if len(public_key) != mechanism.length_public_key or len(signature) > mechanism.length_signature:
            return False
        if algorithm.startswith(_FALCON):
            # liboqs also takes a signature that is filled with zeros to Falcon's padded length. A compressed one never
            # ends in a zero byte, so without these each signature has one form.
            unfilled = not signature.endswith(b"\0")
            return unfilled and bool(mechanism.verify(with_context(message, context), signature, public_key))
        return bool(mechanism.verify_with_ctx_str(message, signature, context, public_key))


def with_context(message: bytes, context: bytes) -> bytes:
    """What Falcon signs: FIPS 204's encoding of message and context (algorithm 2), since Falcon itself has none.

    A zero byte, the context's length as one byte, the context, the message: two different pairs never give the same
    bytes. Raises ValueError for a context of more than 255 bytes.
    """
    return b"\0" + bytes([len(context)]) + context + message


def generate_kem_pair(algorithm: str) -> tuple[bytes, bytes]:
    """Private key, in liboqs's expanded form, and public key."""
    with _kem(algorithm) as mechanism:
        public = mechanism.generate_keypair()
        return mechanism.export_secret_key(), public


def encapsulate(algorithm: str, public_key: bytes) -> tuple[bytes, bytes]:
    """Shared secret and ciphertext. Raises ValueError for bytes that are no public key."""
    with _kem(algorithm) as mechanism:
        if len(public_key) != mechanism.length_public_key:
            raise ValueError(f"an {algorithm} public key is {mechanism.length_public_key} bytes long")
        try:
            ciphertext, secret = mechanism.encap_secret(public_key)
        except RuntimeError as error:
            raise ValueError(f"the bytes are no {algorithm} public key") from error
        return secret, ciphertext


def decapsulate(algorithm: str, private_key: bytes, ciphertext: bytes) -> bytes:
    """The shared secret. Raises ValueError for a key or ciphertext of another length."""
    with _kem(algorithm, private_key) as mechanism:
        if len(ciphertext) != mechanism.length_ciphertext:
            raise ValueError(f"an {algorithm} ciphertext is {mechanism.length_ciphertext} bytes long")
        return bytes(mechanism.decap_secret(ciphertext))


def _signature(algorithm: str, private_key: bytes | None = None) -> Any:
    return _mechanism("Signature", algorithm, private_key)


def _kem(algorithm: str, private_key: bytes | None = None) -> Any:
    return _mechanism("KeyEncapsulation", algorithm, private_key)


def _mechanism(kind: str, algorithm: str, private_key: bytes | None) -> Any:
    oqs = load()
    try:
        mechanism = getattr(oqs, kind)(algorithm)
    except oqs.MechanismNotSupportedError:
        raise LiboqsMissing(f"liboqs {oqs.oqs_version()} here was built without {algorithm}") from None
    if private_key is None:
        return mechanism
    with mechanism:
        # It would fill a short one with zeros.
        if len(private_key) != mechanism.length_secret_key:
            raise ValueError(f"liboqs's {algorithm} private key is {mechanism.length_secret_key} bytes long")
    return getattr(oqs, kind)(algorithm, private_key)


def _find_library() -> tuple[str, ctypes.CDLL]:
    for place in _places():
        try:
            return place, ctypes.CDLL(place)
        except OSError:
            continue
    raise LiboqsMissing("the liboqs C library was not found")


def _places() -> Iterator[str]:
    """Where liboqs-python looks, in its order."""
    for name in ("liboqs", "oqs"):
        if found := ctypes.util.find_library(name):
            yield found
    try:
        folder = Path(os.environ["OQS_INSTALL_PATH"]) if "OQS_INSTALL_PATH" in os.environ else Path.home() / "_oqs"
    except RuntimeError:
        raise LiboqsMissing("the liboqs C library was not found: neither OQS_INSTALL_PATH nor HOME is set") from None
    system = platform.system()
    for part in ("bin",) if system == "Windows" else ("lib", "lib64"):
        for name in ("oqs", "liboqs") if system == "Windows" else ("liboqs",):
            yield str((folder / part / name).absolute().with_suffix(_SUFFIXES.get(system, ".so")))


def _version_of(place: str, library: ctypes.CDLL) -> str:
    try:
        library.OQS_version.restype = ctypes.c_char_p
        return str(library.OQS_version().decode())
    except AttributeError:
        raise LiboqsMissing(f"{place} is no liboqs C library") from None
