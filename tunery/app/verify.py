"""`tunery verify`: whether files are what an installation signed, by its public key alone and offline.

A folder is a version of an adapter (docs/reference/adapter-format.md). A file is a chain of erasure certificates, one
in each line: `{"certificate": <text>, "signature": {…}}`.
"""

import base64
import binascii
import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from tunery.app.embedded.errors import CannotStart
from tunery.core.canonical import canonical_json
from tunery.core.errors import DomainError
from tunery.training.adapter_files import (
    MAX_CONFIG_BYTES,
    MAX_HEADER_BYTES,
    SafetensorsHeader,
    check_adapter_config,
    check_adapter_weights,
    read_safetensors_header,
    verify_files,
)
from tunery.training.adapter_manifest import (
    CONFIG_NAME,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURE_CONTEXT,
    SIGNATURE_NAME,
    WEIGHTS_NAME,
    AdapterManifest,
    AdapterRefused,
    parse_manifest,
)
from tunery.training.adapter_manifest import digest as digest_of
from tunery.vault.liboqs import LiboqsMissing
from tunery.vault.signatures import ALGORITHMS, SignatureRefused, algorithm_of, fingerprint
from tunery.vault.signatures import verify as verify_signature

HOLDS, REFUSED = 0, 1
ERASURE_CONTEXT = "tunery-erasure/1"
"""`vault.erasures.FORMAT`; importing it would bring the database along."""
MAX_SIGNATURE_BYTES = 32 * 1024
MAX_KEY_FILE_BYTES = 64 * 1024
MAX_CERTIFICATE_BYTES = 64 * 2**20
"""Of one line: a tenant's certificate names each destroyed key, in about 250 bytes."""
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")


class TrustedKeys:
    """Public keys that the caller got from somewhere trusted, by their fingerprints."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._keys = {fingerprint(key): key for key in keys}

    def verify(self, message: bytes, signature: Mapping[str, Any], context: str) -> None:
        """Raises SignatureRefused unless the signature is one of these keys', and LiboqsMissing."""
        named = signature.get("key")
        if not isinstance(named, str) or named not in self._keys:
            given = ", ".join(self._keys)
            raise SignatureRefused(f"the signature names the key {named!r:.100}, which was not given; given: {given}")
        verify_signature(message, signature, self._keys[named], context)


class CertificateRefused(DomainError):
    """A chain of certificates is broken; the message names the first bad one."""

    code = "CERTIFICATE_REFUSED"


class _SignedCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    certificate: str
    signature: dict[str, str]


class Certificate(msgspec.Struct, frozen=True):
    """What of an erasure certificate is read here; the signature covers all of it."""

    format: Literal["tunery-erasure/1"]
    tenant: str
    number: Annotated[int, msgspec.Meta(ge=1)]
    previous: str | None
    scope: str
    subject: str | None
    destroyed_at: str
    destroyed: list[Any]
    deleted: dict[str, int]
    ended: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class VerifiedAdapter:
    manifest: AdapterManifest
    digest: str
    signature: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class VerifiedCertificate:
    certificate: Certificate
    digest: str
    """SHA-256 of the certificate's bytes, which the next one repeats as `previous`."""
    signature: Mapping[str, str]


def verify_adapter(folder: Path, keys: TrustedKeys, promised: str | None = None) -> VerifiedAdapter:
    """Check every byte of a version's folder. `promised` is its digest, or the beginning of that.

    Raises SignatureRefused and AdapterRefused, whose messages name the file, LiboqsMissing, and OSError.
    """
    content = _read(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES)
    with _naming(SIGNATURE_NAME):
        signature = _parse_signature(_read(folder / SIGNATURE_NAME, MAX_SIGNATURE_BYTES))
    with _naming(f"{SIGNATURE_NAME} over {MANIFEST_NAME}"):
        # Before the manifest is read for what it says: from here on, the signer answers for it.
        keys.verify(content, signature, SIGNATURE_CONTEXT)
    with _naming(MANIFEST_NAME):
        manifest = parse_manifest(content)
        digest = digest_of(content)
        if promised is not None and not digest.startswith(promised):
            raise AdapterRefused(f"the digest is {digest}, not the promised {promised}", code="FILES_MISMATCH")
        verify_files(folder, manifest)
    with _naming(CONFIG_NAME):
        config = _read(folder / CONFIG_NAME, MAX_CONFIG_BYTES)
        configuration = check_adapter_config(config, base_model=manifest.base_model.name)
    with _naming(WEIGHTS_NAME):
        check_adapter_weights(_weights_header(folder / WEIGHTS_NAME), configuration)
    return VerifiedAdapter(manifest, digest, signature)


def verify_certificates(file: Path, keys: TrustedKeys, promised: str | None = None) -> list[VerifiedCertificate]:
    """Check each signature of a chain of erasure certificates, and that none is missing between first and last.

    `promised` is the digest of the last one: without it, nobody can tell a chain from its beginning. Raises
    CertificateRefused, CannotStart for a line that is too long to be checked, LiboqsMissing, and OSError.
    """
    chain: list[VerifiedCertificate] = []
    for number, line in enumerate(_lines(file), 1):
        try:
            found = _verify_certificate(line, keys)
            if chain:
                _check_link(chain[-1], found)
        except LiboqsMissing:
            raise
        except DomainError as error:
            raise CertificateRefused(f"{file.name}, line {number}: {error.message}") from error
        chain.append(found)
    if not chain:
        raise CertificateRefused(f"{file.name} holds no certificate")
    if promised is not None and not chain[-1].digest.startswith(promised):
        raise CertificateRefused(
            f"{file.name}: the last certificate's digest is {chain[-1].digest}, not the promised {promised}"
        )
    return chain


def _verify_certificate(line: bytes, keys: TrustedKeys) -> VerifiedCertificate:
    try:
        signed = msgspec.json.decode(line, type=_SignedCertificate)
        content = signed.certificate.encode()
    except (ValueError, RecursionError) as error:
        raise CertificateRefused(f"no signed certificate: {error}") from error
    keys.verify(content, signed.signature, ERASURE_CONTEXT)
    try:
        certificate = msgspec.json.decode(content, type=Certificate)
        canonical = canonical_json(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise CertificateRefused(f"not a certificate of a known format: {error}") from error
    if canonical != content:
        raise CertificateRefused(f"certificate {certificate.number} isn't in its canonical form")
    if (certificate.number == 1) != (certificate.previous is None):
        raise CertificateRefused(f"certificate {certificate.number}: only the first has none before it")
    return VerifiedCertificate(certificate, hashlib.sha256(content).hexdigest(), signed.signature)


def _check_link(before: VerifiedCertificate, after: VerifiedCertificate) -> None:
    last, this = before.certificate, after.certificate
    if this.tenant != last.tenant:
        raise CertificateRefused(f"certificate {this.number} is of the tenant {this.tenant!r:.100}, not {last.tenant}")
    if this.number != last.number + 1:
        raise CertificateRefused(f"certificate {this.number} follows certificate {last.number}")
    if this.previous != before.digest:
        raise CertificateRefused(
            f"certificate {this.number} follows one with the SHA-256 {this.previous!r:.100}, not {before.digest}"
        )


def read_key(text: str) -> bytes:
    """A public key given in base64, or as the file that holds that. Raises CannotStart with what is wrong."""
    origin = f"the key {text:.16}…"
    if _is_file(text):
        origin = f"the key in {text}"
        try:
            with Path(text).open("rb") as file:
                content = file.read(MAX_KEY_FILE_BYTES)
        except OSError as error:
            raise CannotStart(f"{origin} can't be read: {error.strerror}") from error
        text = content.decode("ascii", "replace")
    elif len(text) < 100:  # noqa: PLR2004 - no key is that short
        raise CannotStart(f"no such key: {text!r} is neither a file nor a public key in base64")
    try:
        key = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise CannotStart(f"{origin} is not in base64") from None
    try:
        algorithm_of(key)
    except DomainError as error:
        raise CannotStart(f"{origin} can't be used: {error.message}") from None
    return key


def read_digest(text: str) -> str:
    """A digest in hex, or the 40 digits of a hub revision. Raises CannotStart."""
    if not _DIGEST.fullmatch(text.lower()):
        raise CannotStart(f"{text!r:.100} is no digest: it has 64 hexadecimal digits, as a revision on the hub 40")
    return text.lower()


def run_verify(path: Path, keys: list[str], digest: str | None) -> int:
    """The command: prints what was verified, or why it was refused. Raises CannotStart for what cannot be checked."""
    trusted = TrustedKeys([read_key(key) for key in keys])
    promised = None if digest is None else read_digest(digest)
    try:
        if path.is_dir():
            lines = _describe_adapter(verify_adapter(path, trusted, promised))
        elif path.is_file():
            lines = _describe_certificates(verify_certificates(path, trusted, promised))
        else:
            raise CannotStart(f"{path} is neither an adapter's folder nor a file of erasure certificates")
    except LiboqsMissing as error:
        raise CannotStart(error.message) from error
    except DomainError as error:
        typer.echo(f"refused: {_printable(error.message)}", err=True)
        return REFUSED
    except OSError as error:
        raise CannotStart(f"{error.filename or path} can't be read: {error.strerror}") from error
    for label, text in lines:
        typer.echo(f"{label:<10} {_printable(text)}")
    return HOLDS


def _describe_adapter(found: VerifiedAdapter) -> Iterator[tuple[str, str]]:
    manifest, base = found.manifest, found.manifest.base_model
    yield "verified", f"adapter {manifest.name}, version {manifest.version}, made {manifest.created_at}"
    yield "digest", found.digest
    yield "base", f"{base.name}, revision {base.revision}, weights {base.weights_sha256}"
    yield from _describe_signature(found.signature)
    for name, file in sorted(manifest.files.items()):
        yield "file", f"{name}, {file.size:,} bytes, {file.sha256}"


def _describe_certificates(chain: list[VerifiedCertificate]) -> Iterator[tuple[str, str]]:
    first, last = chain[0].certificate, chain[-1].certificate
    numbers = f"{first.number}" if len(chain) == 1 else f"{first.number} to {last.number}"
    before = "" if first.number == 1 else f"; those before {first.number} were not given"
    yield "verified", f"erasure certificates of tenant {first.tenant}, number {numbers}{before}"
    yield "digest", f"{chain[-1].digest} of the last; whether later ones exist, a file can't tell"
    for signature in {found.signature["key"]: found.signature for found in chain}.values():
        yield from _describe_signature(signature)
    for certificate in (found.certificate for found in chain):
        whom = certificate.scope if certificate.subject is None else f"{certificate.scope} {certificate.subject}"
        rows, ended = sum(certificate.deleted.values()), sum(certificate.ended.values())
        what = f"{len(certificate.destroyed)} keys destroyed, {rows} rows deleted"
        records = f", {ended} kept as a record" if ended else ""
        yield f"number {certificate.number}", f"{whom}, {certificate.destroyed_at}: {what}{records}"


def _describe_signature(signature: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield "signature", ALGORITHMS[signature["algorithm"]].description
    yield "key", signature["key"]


def _parse_signature(content: bytes) -> dict[str, Any]:
    try:
        signature = json.loads(content)
        canonical = canonical_json(signature)
    except (ValueError, RecursionError) as error:
        raise SignatureRefused(f"the signature can't be read: {error}") from error
    # Otherwise bytes of the file could change without anybody noticing.
    if canonical != content or not isinstance(signature, dict):
        raise SignatureRefused("the signature isn't in its canonical form")
    return signature


def _weights_header(path: Path) -> SafetensorsHeader:
    with path.open("rb") as file:
        return read_safetensors_header(file.read(8 + MAX_HEADER_BYTES), size=path.stat().st_size)


def _read(path: Path, most: int) -> bytes:
    if not path.is_file():
        problem = "isn't a plain file" if path.exists() else "is missing"
        raise AdapterRefused(f"{path.name} {problem}", code="FILES_MISMATCH", field=path.name)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise AdapterRefused(f"{path.name} is larger than {most:,} bytes", code="FILES_MISMATCH", field=path.name)
    return content


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(MAX_CERTIFICATE_BYTES + 1):
            if len(line) > MAX_CERTIFICATE_BYTES:
                raise CannotStart(
                    f"{path.name} has a line of more than {MAX_CERTIFICATE_BYTES:,} bytes, which is too long"
                )
            if line.strip():
                yield line


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a key is no name that a file may have
        return False


@contextlib.contextmanager
def _naming(file: str) -> Iterator[None]:
    """Whoever is refused learns which file it was."""
    try:
        yield
    except LiboqsMissing:
        raise
    except DomainError as error:
        if error.field is not None or file in error.message:
            raise
        raise AdapterRefused(f"{file}: {error.message}", code=error.error_code, field=file) from error


def _printable(text: str) -> str:
    """What others wrote may hold escape sequences for the terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
