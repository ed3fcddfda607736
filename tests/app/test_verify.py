"""`tunery verify`: what an installation signed passes, and whatever was done to it since is refused with its reason."""

import base64
import errno
import hashlib
import json
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SignedUpTenant
from tunery.app.cli import main
from tunery.app.verify import ERASURE_CONTEXT
from tunery.core.canonical import canonical_json
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.training.adapter_manifest import (
    ADAPTER_FILES,
    AdapterManifest,
    BaseIdentity,
    FileDigest,
)
from tunery.training.training_spec import TrainingSpec
from tunery.vault import erasures, liboqs
from tunery.vault.keyring import DestroyedKey, Keyring
from tunery.vault.liboqs import LiboqsMissing
from tunery.vault.signatures import ML_DSA_65, ML_DSA_87, Signer, fingerprint, generate_signer

MANIFEST, SIGNATURE, CARD = "tunery_manifest.json", "tunery_signature.json", "README.md"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


@dataclass(frozen=True)
class Result:
    status: int
    output: str
    errors: str


Verify = Callable[..., Result]


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """The command, in this process."""

    def run(path: Path, *keys: bytes | str, more: tuple[str, ...] = ()) -> Result:
        given = [key if isinstance(key, str) else base64.b64encode(key).decode() for key in keys]
        options = [part for key in given for part in ("--key", key)]
        monkeypatch.setattr(sys, "argv", ["tunery", "verify", str(path), *options, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert (ended.value.code == 0) == bool(captured.out)
        return Result(ended.value.code, captured.out, captured.err)

    return run


def weights() -> bytes:
    tensors = {f"{MODULE}.lora_A.weight": [4, 16], f"{MODULE}.lora_B.weight": [8, 4]}
    header, end = {}, 0
    for name, shape in tensors.items():
        start, end = end, end + 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def contents(**changes: Any) -> dict[str, bytes]:
    config = {
        "base_model_name_or_path": "acme/base", "lora_alpha": 8, "peft_type": "LORA", "r": 4,
        "target_modules": ["q_proj"],
    }  # fmt: skip
    return {CARD: b"# support\n", CONFIG: canonical_json(config | changes), WEIGHTS: weights()}


def manifest_of(files: dict[str, bytes]) -> AdapterManifest:
    return AdapterManifest(
        name="support",
        version="3",
        base_model=BaseIdentity("acme/base", "main", "ab" * 32),
        quantisation="bitsandbytes-nf4-double",
        dataset_sha256="cd" * 32,
        spec=TrainingSpec(),
        rows=337,
        trained_tokens=124_760,
        metrics={"base_loss": 2.55, "adapter_loss": 0.24},
        created_at="2026-11-20T11:59:42+00:00",
        files={name: FileDigest.of(content) for name, content in files.items()},
    )


def write(folder: Path, files: dict[str, bytes], signer: Signer, manifest: bytes | None = None) -> None:
    """A version as an installation stores it; with another manifest, as it would never."""
    manifest = manifest_of(files).to_bytes() if manifest is None else manifest
    signature = canonical_json(signer.sign(manifest, "tunery-adapter/1"))
    for name, content in {**files, MANIFEST: manifest, SIGNATURE: signature}.items():
        (folder / name).write_bytes(content)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return generate_signer()


@pytest.fixture
def folder(tmp_path: Path, signer: Signer) -> Path:
    (folder := tmp_path / "adapter").mkdir()
    write(folder, contents(), signer)
    return folder


def change(path: Path, how: Callable[[dict[str, Any]], None]) -> None:
    """In the file's own form, so that nothing but the change itself can be what is refused."""
    value = json.loads(path.read_bytes())
    how(value)
    path.write_bytes(canonical_json(value))


def test_what_was_signed_is_verified_and_described(folder: Path, signer: Signer, verify: Verify):
    (folder / ".cache").mkdir()  # as `hf download` leaves it
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    for promise in ((), ("--digest", digest), ("--digest", digest[:40].upper())):
        found = verify(folder, signer.public_key, more=promise)
        assert (found.status, found.errors) == (0, "")
        lines = dict(line.split(maxsplit=1) for line in found.output.splitlines() if not line.startswith("file"))
        assert lines == {
            "verified": "adapter support, version 3, made 2026-11-20T11:59:42+00:00",
            "digest": digest,
            "base": f"acme/base, revision main, weights {'ab' * 32}",
            "signature": "ML-DSA-65 (FIPS 204)",
            "key": fingerprint(signer.public_key),
        }
        assert [line for line in found.output.splitlines() if line.startswith("file")] == [
            f"file       {name}, {len(content):,} bytes, {hashlib.sha256(content).hexdigest()}"
            for name, content in sorted(contents().items())
        ]


def test_a_key_comes_as_text_or_as_a_file_and_one_of_several_suffices(
    folder: Path, signer: Signer, verify: Verify, tmp_path: Path
):
    text = base64.encodebytes(signer.public_key)
    assert b"\n" in text.strip()
    (tmp_path / "key.txt").write_bytes(text)
    (tmp_path / "keys").write_bytes(base64.b64encode(signer.public_key))
    others = [generate_signer(ML_DSA_87).public_key, generate_signer(ML_DSA_65).public_key]
    for keys in ([str(tmp_path / "key.txt")], [str(tmp_path / "keys")], [*others, signer.public_key]):
        assert verify(folder, *keys).status == 0
    refused = verify(folder, *others)
    assert refused.status == 1
    assert f"names the key '{fingerprint(signer.public_key)}', which was not given" in refused.errors
    assert all(fingerprint(key) in refused.errors for key in others)


def test_the_larger_algorithm_is_verified_too(folder: Path, verify: Verify):
    larger = generate_signer(ML_DSA_87)
    write(folder, contents(), larger)
    found = verify(folder, larger.public_key)
    assert found.status == 0
    assert "signature  ML-DSA-87 (FIPS 204)\n" in found.output


@pytest.mark.parametrize("name", [*ADAPTER_FILES, MANIFEST, SIGNATURE])
def test_each_byte_of_each_file_counts(folder: Path, signer: Signer, verify: Verify, name: str):
    chance = random.Random(4)  # noqa: S311 - the same at each run
    content = (folder / name).read_bytes()
    places = {0, len(content) - 1, *(chance.randrange(len(content)) for _ in range(60))}
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << chance.randrange(7)
        (folder / name).write_bytes(changed)
        found = verify(folder, signer.public_key)
        assert found.status == 1, (place, content[place], changed[place])
        assert found.errors.startswith("refused: ")
        assert name in found.errors
    (folder / name).write_bytes(content)
    assert verify(folder, signer.public_key).status == 0


@pytest.mark.parametrize("name", [*ADAPTER_FILES, MANIFEST, SIGNATURE])
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), ""),
        (lambda path: path.write_bytes(path.read_bytes() + b"\n"), ""),
        (lambda path: path.write_bytes(b""), ""),
        (lambda path: (path.unlink(), path.mkdir()), "isn't a plain file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "isn't a plain file"),
        (lambda path: (path.unlink(), path.symlink_to("/dev/zero")), "isn't a plain file"),
    ],
    ids=["missing", "truncated", "longer", "empty", "folder", "pipe", "endless"],
)
def test_a_file_that_is_not_the_signed_one_is_named(
    folder: Path, signer: Signer, verify: Verify, name: str, how: Callable[[Path], Any], reason: str
):
    how(folder / name)
    found = verify(folder, signer.public_key)
    assert found.status == 1
    assert found.errors.startswith("refused: ")
    assert name in found.errors
    assert reason in found.errors


def add(name: str) -> Callable[[Path, Signer], None]:
    return lambda folder, signer: (folder / name).write_bytes(b"x")  # noqa: ARG005


def reserialise(folder: Path, signer: Signer) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_bytes())))


def reserialise_and_sign(folder: Path, signer: Signer) -> None:
    write(folder, contents(), signer, json.dumps(json.loads((folder / MANIFEST).read_bytes())).encode())


def reserialise_signature(folder: Path, signer: Signer) -> None:
    path = folder / SIGNATURE
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=2))


def swap_signature(folder: Path, signer: Signer) -> None:
    """With that of another version of the same installation."""
    (folder / SIGNATURE).write_bytes(canonical_json(signer.sign(b"another manifest", "tunery-adapter/1")))


def sign_elsewhere(folder: Path, signer: Signer) -> None:
    """The same bytes, signed as something else."""
    signature = signer.sign((folder / MANIFEST).read_bytes(), "tunery-erasure/1")
    (folder / SIGNATURE).write_bytes(canonical_json(signature))


def claim_context(folder: Path, signer: Signer) -> None:
    sign_elsewhere(folder, signer)
    change(folder / SIGNATURE, lambda signature: signature.update(context="tunery-adapter/1"))


def sign_with_own_key(folder: Path, signer: Signer) -> None:
    write(folder, contents(), generate_signer())


def claim_key(folder: Path, signer: Signer) -> None:
    sign_with_own_key(folder, signer)
    public = base64.b64encode(signer.public_key).decode()
    change(folder / SIGNATURE, lambda made: made.update(key=fingerprint(signer.public_key), public_key=public))


def unknown_algorithm(folder: Path, signer: Signer) -> None:
    change(folder / SIGNATURE, lambda signature: signature.update(algorithm="RSA-PSS"))


def other_algorithm(folder: Path, signer: Signer) -> None:
    change(folder / SIGNATURE, lambda signature: signature.update(algorithm=ML_DSA_87))


def other_files(folder: Path, signer: Signer) -> None:
    """Signed as it is, but with a file more than an adapter has."""
    write(folder, {**contents(), "run.py": b"x"}, signer)


def other_format(folder: Path, signer: Signer) -> None:
    manifest = json.loads(manifest_of(contents()).to_bytes()) | {"format": "tunery-adapter/2"}
    write(folder, contents(), signer, canonical_json(manifest))


def code(folder: Path, signer: Signer) -> None:
    write(folder, contents(auto_map={"AutoModel": "run.Model"}), signer)


def other_base(folder: Path, signer: Signer) -> None:
    write(folder, contents(base_model_name_or_path="evil/base"), signer)


def pickled(folder: Path, signer: Signer) -> None:
    write(folder, {**contents(), WEIGHTS: b"\x80\x04" + bytes(100)}, signer)


def trailing(folder: Path, signer: Signer) -> None:
    write(folder, {**contents(), WEIGHTS: weights() + b"PK\x03\x04"}, signer)


def half_a_pair(folder: Path, signer: Signer) -> None:
    write(folder, contents(target_modules=["k_proj"]), signer)


def huge_manifest(folder: Path, signer: Signer) -> None:
    (folder / MANIFEST).write_bytes(b" " * 300_000)


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (add("run.py"), "'run.py' isn't in the manifest"),
        (add("adapter_model.bin"), "'adapter_model.bin' isn't in the manifest"),
        (add("\x1b[2J.py"), r"'\x1b[2J.py' isn't in the manifest"),
        (reserialise, f"{SIGNATURE} over {MANIFEST}: the signature does not match the signed bytes"),
        (reserialise_and_sign, "The manifest isn't in its canonical form"),
        (reserialise_signature, f"{SIGNATURE}: the signature isn't in its canonical form"),
        (swap_signature, f"{SIGNATURE} over {MANIFEST}: the signature does not match"),
        (sign_elsewhere, "the signature is for 'tunery-erasure/1', not for 'tunery-adapter/1'"),
        (claim_context, "the signature does not match the signed bytes"),
        (sign_with_own_key, "which was not given"),
        (claim_key, "the signature does not match the signed bytes"),
        (unknown_algorithm, "unknown signature algorithm 'RSA-PSS'; known are ML-DSA-65"),
        (other_algorithm, "the signature is ML-DSA-87, which this key is not"),
        (other_files, "A manifest covers README.md, adapter_config.json, adapter_model.safetensors"),
        (other_format, f"{MANIFEST}: The manifest can't be read: Invalid enum value 'tunery-adapter/2'"),
        (code, "adapter_config.json sets auto_map, which makes loaders run code"),
        (other_base, "adapter_config.json is for the base model 'evil/base', not 'acme/base'"),
        (pickled, f"{WEIGHTS}: The file is a pickle"),
        (trailing, f"{WEIGHTS}: The file isn't a well-formed safetensors file"),
        (half_a_pair, "adapter_model.safetensors doesn't hold a LoRA adapter"),
        (huge_manifest, f"{MANIFEST} is larger than 262,144 bytes"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_each_attack_is_refused_with_its_reason(
    folder: Path, signer: Signer, verify: Verify, attack: Callable[[Path, Signer], None], reason: str
):
    attack(folder, signer)
    found = verify(folder, signer.public_key)
    assert found.status == 1
    assert found.errors.startswith("refused: ")
    assert reason in found.errors
    assert "\x1b" not in found.errors


def test_names_cannot_write_to_the_terminal(folder: Path, signer: Signer, verify: Verify, tmp_path: Path):
    manifest = json.loads((folder / MANIFEST).read_bytes()) | {"name": "\x1b[2Jsupport\nverified"}
    write(folder, contents(), signer, canonical_json(manifest))
    found = verify(folder, signer.public_key)
    assert found.output.splitlines()[0].startswith(r"verified   adapter \x1b[2Jsupport\nverified, version 3")
    (tmp_path / "erasures").write_bytes(signed(certificate(1, None, subject="\x1b[2J"), signer))
    found = verify(tmp_path / "erasures", signer.public_key)
    assert r"subject \x1b[2J, 2026" in found.output
    (tmp_path / "erasures").write_bytes(signed(certificate(1, None, format="\x1b[2J"), signer))
    found = verify(tmp_path / "erasures", signer.public_key)
    assert found.status == 1
    assert r"\x1b[2J" in found.errors


def test_another_digest_than_the_promised_one_is_refused(folder: Path, signer: Signer, verify: Verify):
    promised = hashlib.sha256(b"another version").hexdigest()
    found = verify(folder, signer.public_key, more=("--digest", promised))
    assert found.status == 1
    assert f"not the promised {promised}" in found.errors
    assert hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest() in found.errors


def test_what_cannot_be_checked_is_status_2_and_says_why(folder: Path, signer: Signer, verify: Verify, tmp_path: Path):
    (tmp_path / "short").write_text(base64.b64encode(bytes(1951)).decode())
    (tmp_path / "words").write_text("my key")
    (tmp_path / "binary").write_bytes(signer.public_key)
    good = base64.b64encode(signer.public_key).decode()
    for path, key, more, reason in [
        (tmp_path / "nothing", good, (), "nothing is neither an adapter's folder nor a file of erasure certificates"),
        (folder, str(tmp_path / "no-such-key"), (), "is neither a file nor a public key in base64"),
        (folder, "", (), "is neither a file nor a public key in base64"),
        (folder, str(tmp_path), (), "is neither a file nor a public key in base64"),
        (folder, str(tmp_path / "short"), (), "1,951 bytes belongs to no known algorithm: 1,952 (ML-DSA-65)"),
        (folder, str(tmp_path / "words"), (), f"the key in {tmp_path / 'words'} is not in base64"),
        (folder, str(tmp_path / "binary"), (), "is not in base64"),
        (folder, good[:-8], (), "1,947 bytes belongs to no known algorithm"),
        (folder, f"*{good}", (), f"the key *{good[:15]}… is not in base64"),
        (folder, good, ("--digest", "cafe"), "'cafe' is no digest"),
    ]:
        found = verify(path, key, more=more)
        assert found.status == 2, reason
        assert found.errors.startswith("tunery: ")
        assert reason in found.errors
    assert verify(folder).status == 2  # no key at all


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_status_2(folder: Path, signer: Signer, verify: Verify):
    (folder / CARD).chmod(0)
    found = verify(folder, signer.public_key)
    assert found.status == 2
    assert "README.md can't be read: Permission denied" in found.errors


def test_what_cannot_be_read_at_all_is_status_2(
    folder: Path, signer: Signer, verify: Verify, monkeypatch: pytest.MonkeyPatch
):
    """A disk's fault, say; it binds root as well."""
    broken = folder.parent / "broken"
    broken.touch()
    original = Path.open

    def fail(path: Path, *given: Any) -> Any:
        if path == broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return original(path, *given)

    monkeypatch.setattr(Path, "open", fail)
    for path, key in ((folder, str(broken)), (broken, signer.public_key)):
        found = verify(path, key)
        assert found.status == 2
        assert found.errors.startswith("tunery: ")
        assert f"{broken} can't be read: Input/output error" in found.errors


def test_falcon_without_liboqs_is_status_2_and_says_what_to_install(
    folder: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
):
    def load() -> Any:
        raise LiboqsMissing("none here")

    monkeypatch.setattr(liboqs, "load", load)
    key = bytes(897)
    signature = {
        "algorithm": "Falcon-512", "context": "tunery-adapter/1", "key": fingerprint(key),
        "public_key": base64.b64encode(key).decode(), "signature": "AAAA",
    }  # fmt: skip
    (folder / SIGNATURE).write_bytes(canonical_json(signature))
    found = verify(folder, key)
    assert found.status == 2
    assert "none here. Falcon, and" in found.errors
    assert "pip install 'tunery[pq]'" in found.errors


def liboqs_is_missing() -> bool:
    try:
        liboqs.load()
    except LiboqsMissing:
        return True
    return False


@pytest.mark.skipif(liboqs_is_missing(), reason="the liboqs C library is not there: Falcon cannot be tried")
@pytest.mark.parametrize("algorithm", ["Falcon-512", "Falcon-1024"])
def test_a_falcon_signature_is_verified_and_called_experimental(folder: Path, verify: Verify, algorithm: str):
    falcon = generate_signer(algorithm)
    write(folder, contents(), falcon)
    found = verify(folder, falcon.public_key)
    assert found.status == 0
    assert f"signature  {algorithm} (experimental: FN-DSA, its standard, is not final)\n" in found.output
    (folder / CARD).write_bytes(b"# Support\n")
    assert verify(folder, falcon.public_key).status == 1
    write(folder, contents(), falcon)
    change(folder / SIGNATURE, lambda signature: signature.update(context="tunery-erasure/1"))
    assert verify(folder, falcon.public_key).status == 1


def certificate(number: int, previous: bytes | None, **changes: Any) -> bytes:
    return canonical_json(
        {
            "format": "tunery-erasure/1",
            "tenant": "0197c0de-0000-7000-8000-000000000001",
            "number": number,
            "previous": None if previous is None else hashlib.sha256(previous).hexdigest(),
            "scope": "subject",
            "subject": "customer 7",
            "requested_by": "member",
            "destroyed_at": f"2026-11-2{number}T12:00:00Z",
            "destroyed": [{"kind": "data key", "fingerprint": "ab" * 16}] * number,
            "deleted": {"memories": 10 * number, "conversations": 1},
        }
        | changes
    )


def chain_of(length: int) -> list[bytes]:
    chain: list[bytes] = []
    for number in range(1, length + 1):
        chain.append(certificate(number, chain[-1] if chain else None))
    return chain


def signed(content: bytes, signer: Signer, context: str = "tunery-erasure/1") -> bytes:
    return json.dumps({"certificate": content.decode(), "signature": signer.sign(content, context)}).encode() + b"\n"


def test_a_chain_of_certificates_is_verified(tmp_path: Path, signer: Signer, verify: Verify):
    """By keys of two algorithms, as after a change of the setting."""
    later, chain, path = generate_signer(ML_DSA_87), chain_of(3), tmp_path / "erasures.ndjson"
    lines = [signed(chain[0], signer), signed(chain[1], signer), signed(chain[2], later)]
    path.write_bytes(b"".join(lines))
    digest = hashlib.sha256(chain[2]).hexdigest()
    for promise in ((), ("--digest", digest)):
        found = verify(path, signer.public_key, later.public_key, more=promise)
        assert (found.status, found.errors) == (0, "")
        assert found.output.splitlines() == [
            "verified   erasure certificates of tenant 0197c0de-0000-7000-8000-000000000001, number 1 to 3",
            f"digest     {digest} of the last; whether later ones exist, a file can't tell",
            "signature  ML-DSA-65 (FIPS 204)",
            f"key        {fingerprint(signer.public_key)}",
            "signature  ML-DSA-87 (FIPS 204)",
            f"key        {fingerprint(later.public_key)}",
            "number 1   subject customer 7, 2026-11-21T12:00:00Z: 1 keys destroyed, 11 rows deleted",
            "number 2   subject customer 7, 2026-11-22T12:00:00Z: 2 keys destroyed, 21 rows deleted",
            "number 3   subject customer 7, 2026-11-23T12:00:00Z: 3 keys destroyed, 31 rows deleted",
        ]
    path.write_bytes(lines[1])
    assert "number 2; those before 2 were not given\n" in verify(path, signer.public_key).output


def test_the_first_bad_certificate_is_named(tmp_path: Path, signer: Signer, verify: Verify):
    path, chain, stranger = tmp_path / "erasures.ndjson", chain_of(4), generate_signer()
    good = [signed(content, signer) for content in chain]

    def replaced(place: int, line: bytes) -> list[bytes]:
        return [*good[:place], line, *good[place + 1 :]]

    altered = json.loads(good[1])
    altered["certificate"] = altered["certificate"].replace('"memories":20', '"memories":21')
    swapped = json.loads(good[2]) | {"signature": json.loads(good[1])["signature"]}
    more = json.loads(good[2]) | {"more": 1}
    for lines, reason in [
        (replaced(1, json.dumps(altered).encode() + b"\n"), "line 2: the signature does not match"),
        (replaced(2, json.dumps(swapped).encode() + b"\n"), "line 3: the signature does not match"),
        (replaced(2, json.dumps(more).encode() + b"\n"), "line 3: no signed certificate"),
        (replaced(2, signed(chain[2], stranger)), "line 3: the signature names the key"),
        (replaced(2, signed(chain[2], signer, "tunery-adapter/1")), "line 3: the signature is for 'tunery-adapter/1'"),
        (replaced(2, b"rubbish\n"), "line 3: no signed certificate"),
        ([good[0], good[2], good[3]], "line 2: certificate 3 follows certificate 1"),
        ([good[0], good[0]], "line 2: certificate 1 follows certificate 1"),
        ([good[1], good[0]], "line 2: certificate 1 follows certificate 2"),
        ([*good[:3], good[3][:-20]], "line 4: no signed certificate"),
        (
            replaced(1, signed(certificate(2, b"another"), signer)),
            f"line 2: certificate 2 follows one with the SHA-256 '{hashlib.sha256(b'another').hexdigest()}'",
        ),
        (
            replaced(1, signed(certificate(2, chain[0], tenant="another"), signer)),
            "is of the tenant 'another', not 0197",
        ),
        (replaced(1, signed(certificate(2, None), signer)), "line 2: certificate 2: only the first has none before"),
        ([signed(certificate(1, b"before"), signer)], "line 1: certificate 1: only the first has none before"),
        ([signed(certificate(0, None), signer)], "line 1: not a certificate of a known format"),
        ([signed(certificate(1, None, format="other/1"), signer)], "line 1: not a certificate of a known format"),
        ([signed(b"[]", signer)], "line 1: not a certificate of a known format"),
        ([signed(chain[0] + b" ", signer)], "line 1: certificate 1 isn't in its canonical form"),
        (
            [signed(chain[0].replace(b'"number":1', b'"number":7,"number":1'), signer)],
            "line 1: certificate 1 isn't in its canonical form",
        ),
        ([b"\n"], "erasures.ndjson holds no certificate"),
        ([b"\xff\xfe\n"], "line 1: no signed certificate"),
        ([b'{"certificate":"\\ud800","signature":{}}\n'], "line 1: no signed certificate"),
        ([b"[" * 100_000], "line 1: no signed certificate"),
    ]:
        path.write_bytes(b"".join(lines))
        found = verify(path, signer.public_key)
        assert found.status == 1, reason
        assert found.errors.startswith("refused: erasures.ndjson")
        assert reason in found.errors


def test_a_certificate_that_is_too_long_to_be_checked_is_status_2(
    tmp_path: Path, signer: Signer, verify: Verify, monkeypatch: pytest.MonkeyPatch
):
    """Nobody has forged anything: it is told apart from what is refused."""
    path, chain = tmp_path / "erasures.ndjson", chain_of(2)
    path.write_bytes(b"".join(signed(content, signer) for content in chain))
    longest = max(map(len, path.read_bytes().splitlines(keepends=True)))
    monkeypatch.setattr("tunery.app.verify.MAX_CERTIFICATE_BYTES", longest)
    assert verify(path, signer.public_key).status == 0
    monkeypatch.setattr("tunery.app.verify.MAX_CERTIFICATE_BYTES", longest - 1)
    found = verify(path, signer.public_key)
    assert found.status == 2
    assert f"erasures.ndjson has a line of more than {longest - 1:,} bytes" in found.errors


async def test_what_the_vault_certifies_is_verified(
    tmp_path: Path, services: Services, sign_up: Callable[..., Any], verify: Verify
):
    tenant: SignedUpTenant = await sign_up()
    lines = []
    for subject in ("customer 7", None):
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            keyring, now = services.get(Keyring), uow.now()
            erasure = await erasures.certify_erasure(
                uow,
                keyring,
                scope="tenant" if subject is None else "subject",
                subject=subject,
                requested_by="a member",
                destroyed=[DestroyedKey("data key", "subject names", "ab" * 16, now, now)],
                deleted={"memories": 3},
            )
            public_key = (await keyring.signer(uow)).public_key
            lines.append({"certificate": erasure.certificate.decode(), "signature": erasure.signature})
    path = tmp_path / "erasures.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = verify(path, public_key, more=("--digest", hashlib.sha256(lines[1]["certificate"].encode()).hexdigest()))
    assert found.status == 0, found.errors
    assert "number 1 to 2\n" in found.output
    assert ": 1 keys destroyed, 3 rows deleted\n" in found.output
    path.write_text(json.dumps(lines[1]) + "\n" + json.dumps(lines[0]) + "\n")
    assert verify(path, public_key).status == 1
    assert ERASURE_CONTEXT == erasures.FORMAT


def test_a_chain_that_lost_its_end_is_refused_by_the_promised_digest(tmp_path: Path, signer: Signer, verify: Verify):
    path, chain = tmp_path / "erasures.ndjson", chain_of(3)
    path.write_bytes(b"".join(signed(content, signer) for content in chain[:2]))
    assert verify(path, signer.public_key).status == 0
    promised = hashlib.sha256(chain[2]).hexdigest()
    found = verify(path, signer.public_key, more=("--digest", promised))
    assert found.status == 1
    assert f"not the promised {promised}" in found.errors


def test_it_runs_from_a_console_without_settings_and_without_the_training_stack(folder: Path, signer: Signer):
    program = (
        "import sys\nfrom tunery.app.cli import main\ntry:\n    main()\nfinally:\n"
        "    print(sorted({'torch', 'transformers', 'safetensors', 'oqs'} & set(sys.modules)))"
    )
    key = base64.b64encode(signer.public_key).decode()
    for path, status in ((folder, 0), (folder / "nothing", 2)):
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, "verify", str(path), "--key", key],
            check=False,
            capture_output=True,
            text=True,
            cwd=folder,
            env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), "LC_ALL": "C"},
        )
        assert result.returncode == status, result.stderr
        assert result.stdout.splitlines()[-1] == "[]"
        assert "Traceback" not in result.stderr
