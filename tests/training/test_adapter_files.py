import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest

from tunery.core.canonical import canonical_json
from tunery.training.adapter_files import (
    MAX_HEADER_BYTES,
    check_adapter,
    check_adapter_config,
    linear_shapes,
    read_safetensors_header,
    verify_files,
)
from tunery.training.adapter_manifest import (
    ADAPTER_FILES,
    AdapterManifest,
    AdapterRefused,
    BaseIdentity,
    FileDigest,
    parse_manifest,
)
from tunery.training.training_spec import TrainingSpec

MODULE = "model.layers.0.self_attn.q_proj"
A, B = f"base_model.model.{MODULE}.lora_A.weight", f"base_model.model.{MODULE}.lora_B.weight"
SHAPES = {MODULE: (8, 16)}
CONFIG: dict[str, Any] = {
    "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "base_model_name_or_path": "acme/base",
    "auto_mapping": None, "megatron_core": "megatron.core", "megatron_config": None, "rank_pattern": {},
}  # fmt: skip


def safetensors_file(tensors: dict[str, tuple[str, list[int]]], tail: bytes = b"", **entries: Any) -> bytes:
    size = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}
    header: dict[str, Any] = dict(entries)
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + size[dtype] * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end) + tail


def adapter(**changes: Any) -> dict[str, bytes]:
    tensors = {A: ("F32", [4, 16]), B: ("F32", [8, 4])} | changes.pop("tensors", {})
    tensors = {name: value for name, value in tensors.items() if value}
    return {
        "adapter_model.safetensors": safetensors_file(tensors),
        "adapter_config.json": json.dumps(CONFIG | changes).encode(),
    }


def refused(files: dict[str, bytes]) -> str:
    with pytest.raises(AdapterRefused) as caught:
        check_adapter(files, base_model="acme/base", base_shapes=SHAPES)
    assert caught.value.message
    return caught.value.error_code


def test_a_plain_adapter_passes() -> None:
    found = check_adapter(adapter(), base_model="acme/base", base_shapes=SHAPES)
    assert (found.rank, found.scaling, found.target_modules) == (4, 2.0, frozenset({"q_proj"}))
    assert check_adapter(adapter(use_rslora=True)).scaling == 4.0


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (pickle.dumps({"weights": [1, 2]}), "PICKLE"),
        (pickle.dumps({"weights": [1, 2]}, protocol=0), "HEADER_TOO_LARGE"),
        (b"PK\x03\x04" + bytes(100), "PICKLE"),
        (b"", "WEIGHTS_INVALID"),
        (struct.pack("<Q", MAX_HEADER_BYTES + 1) + bytes(100), "HEADER_TOO_LARGE"),
        (struct.pack("<Q", 2**64 - 1), "HEADER_TOO_LARGE"),
        (struct.pack("<Q", 500) + b"{}", "WEIGHTS_INVALID"),
        (struct.pack("<Q", 2) + b"[]", "WEIGHTS_INVALID"),
        (struct.pack("<Q", 4000) + b"[" * 4000, "WEIGHTS_INVALID"),
        (safetensors_file({A: ("F32", [4, 16])}, tail=b"second file"), "WEIGHTS_INVALID"),
        (safetensors_file({A: ("F32", [4, 16]), B: ("F32", [8, 4])})[:-1], "WEIGHTS_INVALID"),
        (safetensors_file({}, x={"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}), "WEIGHTS_INVALID"),
        (safetensors_file({}, x={"dtype": "F32", "shape": [2**70], "data_offsets": [0, 0]}), "WEIGHTS_INVALID"),
        (safetensors_file({}, x={"dtype": "EVIL", "shape": [], "data_offsets": [0, 0]}), "WEIGHTS_INVALID"),
        (
            safetensors_file({}, tail=bytes(8), x={"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}),
            "WEIGHTS_INVALID",
        ),
        (safetensors_file({}, __metadata__={"a": {"b": 1}}), "WEIGHTS_INVALID"),
        (struct.pack("<Q", 13) + b'{"a":1,"a":2}', "WEIGHTS_INVALID"),
        (safetensors_file({}), "WEIGHTS_KEYS"),
    ],
)
def test_files_that_are_not_weights_are_refused(content: bytes, code: str) -> None:
    assert refused(adapter() | {"adapter_model.safetensors": content}) == code


@pytest.mark.parametrize(
    ("tensors", "code"),
    [
        ({"base_model.model.lm_head.weight": ("F32", [2, 2])}, "WEIGHTS_KEYS"),
        ({A.replace("lora_A", "lora_A.default"): ("F32", [4, 16])}, "WEIGHTS_KEYS"),
        ({B: None}, "WEIGHTS_KEYS"),
        ({A: ("F32", [8, 16])}, "WEIGHTS_SHAPE"),
        ({A: ("I64", [4, 16])}, "WEIGHTS_SHAPE"),
        ({A: ("F32", [4])}, "WEIGHTS_SHAPE"),
        ({A: ("F32", [4, 17])}, "WEIGHTS_SHAPE"),
        (
            {A.replace("q_proj", "k_proj"): ("F32", [4, 16]), B.replace("q_proj", "k_proj"): ("F32", [8, 4])},
            "WEIGHTS_KEYS",
        ),
        ({A.replace("s.0", "s.9"): ("F32", [4, 16]), B.replace("s.0", "s.9"): ("F32", [8, 4])}, "WEIGHTS_KEYS"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tensors: dict[str, Any], code: str) -> None:
    assert refused(adapter(tensors=tensors)) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "CODE_REFERENCE"),
        ({"auto_mapping": {"base_model_class": "X", "parent_library": "os"}}, "CODE_REFERENCE"),
        ({"loftq_config": {"deeper": [{"auto_map": "x"}]}}, "CODE_REFERENCE"),
        ({"megatron_config": {"a": 1}}, "CODE_REFERENCE"),
        ({"megatron_core": "os"}, "CONFIG_INVALID"),
        ({"peft_type": "PROMPT_TUNING"}, "CONFIG_INVALID"),
        ({"r": 8}, "WEIGHTS_SHAPE"),
        ({"r": 0}, "CONFIG_INVALID"),
        ({"r": True}, "CONFIG_INVALID"),
        ({"r": 10**6}, "CONFIG_INVALID"),
        ({"lora_alpha": float("inf")}, "CONFIG_INVALID"),
        ({"target_modules": "(a+)+$"}, "CONFIG_INVALID"),
        ({"target_modules": ["q_proj\n"]}, "CONFIG_INVALID"),
        ({"target_modules": []}, "CONFIG_INVALID"),
        ({"modules_to_save": ["lm_head"]}, "CONFIG_INVALID"),
        ({"use_dora": True}, "CONFIG_INVALID"),
        ({"bias": "all"}, "CONFIG_INVALID"),
        ({"base_model_name_or_path": "acme/other"}, "CONFIG_INVALID"),
        ({"lora_dropout": 1}, "CONFIG_INVALID"),
    ],
)
def test_configurations_beyond_a_plain_lora_are_refused(change: dict[str, Any], code: str) -> None:
    assert refused(adapter(**change)) == code


@pytest.mark.parametrize("content", [b"[]", b"\xff", b"{", b"[" * 60_000, b" " * 100_000, b'{"r":1,"r":2}'])
def test_configurations_that_are_not_objects_are_refused(content: bytes) -> None:
    with pytest.raises(AdapterRefused):
        check_adapter_config(content)


def test_the_header_alone_is_enough_when_the_size_is_known() -> None:
    content = safetensors_file({f"{MODULE}.weight": ("BF16", [8, 16]), "norm.weight": ("BF16", [16])})
    header = read_safetensors_header(content[:-100], size=len(content))
    assert linear_shapes(header) == SHAPES


def manifest(files: dict[str, bytes]) -> AdapterManifest:
    return AdapterManifest(
        name="Shop", version="1", base_model=BaseIdentity("acme/base", "r", "0" * 64), quantisation="nf4",
        dataset_sha256="1" * 64, spec=TrainingSpec(), rows=3, trained_tokens=9, metrics={"loss": 0.5},
        created_at="2026-11-20T00:00:00+00:00", files={name: FileDigest.of(content) for name, content in files.items()},
    )  # fmt: skip


def test_a_manifest_reads_back_and_only_in_its_canonical_form() -> None:
    made = manifest({"README.md": b"x"})
    assert parse_manifest(made.to_bytes()) == made
    for content in (made.to_bytes() + b"\n", made.to_bytes().replace(b'"rows":3', b'"rows":3.0'), b"{}", b"[" * 9999):
        with pytest.raises(AdapterRefused) as caught:
            parse_manifest(content)
        assert caught.value.error_code == "MANIFEST_INVALID"
    unknown = json.loads(made.to_bytes()) | {"extra": 1}
    with pytest.raises(AdapterRefused):
        parse_manifest(canonical_json(unknown))


def test_not_a_number_cannot_be_signed() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"loss": float("nan")})


def test_altered_missing_and_extra_files_are_refused(tmp_path: Path) -> None:
    files = {name: name.encode() for name in ADAPTER_FILES}
    made = manifest(files)
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    verify_files(files, made)
    verify_files(tmp_path, made)
    verify_files(files | {"tunery_manifest.json": b"", "tunery_signature.json": b""}, made)
    for wrong in (
        files | {"README.md": b"other"},
        {"README.md": files["README.md"]},
        files | {"pytorch_model.bin": b"extra"},
    ):
        with pytest.raises(AdapterRefused) as caught:
            verify_files(wrong, made)
        assert caught.value.error_code == "FILES_MISMATCH"
    (tmp_path / "README.md").rename(elsewhere)
    (tmp_path / "README.md").symlink_to(elsewhere)
    (tmp_path / ".cache").mkdir()
    verify_files(tmp_path, made)  # what the hub's client makes of a download
    elsewhere.write_bytes(b"other")
    with pytest.raises(AdapterRefused):
        verify_files(tmp_path, made)
    with pytest.raises(AdapterRefused):
        verify_files({}, manifest({}))
