"""Checks of adapter files from anywhere, by their bytes alone: nothing is loaded, executed or trusted.

AdapterRefused codes
├── PICKLE               a pickle or a zip of pickles, whatever it is called
├── WEIGHTS_INVALID      not a well-formed safetensors file
├── HEADER_TOO_LARGE     its header is larger than any adapter's
├── WEIGHTS_KEYS         names that aren't LoRA weights, pairs that aren't whole, modules the base doesn't have
├── WEIGHTS_SHAPE        dtype or shape that doesn't fit the rank or the base
├── CONFIG_INVALID       adapter_config.json isn't a plain LoRA configuration
├── CODE_REFERENCE       adapter_config.json names code to import (auto_map and the like)
└── FILES_MISMATCH       files are missing, extra, or not those of the manifest
"""

import hashlib
import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from tunery.training.adapter_manifest import (
    ADAPTER_FILES,
    CONFIG_NAME,
    MANIFEST_NAME,
    SIGNATURE_NAME,
    WEIGHTS_NAME,
    AdapterManifest,
    AdapterRefused,
    FileDigest,
)
from tunery.training.training_spec import MAX_RANK

MAX_HEADER_BYTES: Final = 8 * 2**20
"""An adapter of 128 layers on every linear has a header of 0.3 MB; safetensors itself allows 100 MB."""
MAX_CONFIG_BYTES: Final = 64 * 1024

_LENGTH_BYTES: Final = 8
_ITEM_BYTES: Final = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8,
    "I64": 8, "U64": 8,
}  # fmt: skip
_ADAPTER_DTYPES: Final = frozenset({"F16", "BF16", "F32"})
_LORA_KEY: Final = re.compile(r"base_model\.model\.([A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)\.lora_([AB])\.weight")
# Keys that make some loader import code, at any depth.
_CODE_KEYS: Final = frozenset({"auto_map", "auto_mapping", "custom_pipelines", "custom_modules", "megatron_config"})
# Defaults that peft writes for features a plain LoRA doesn't use: allowed at exactly this value, beside null and empty.
_INERT: Final[dict[str, Any]] = {"megatron_core": "megatron.core", "qalora_group_size": 16}


ModuleName = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*\Z")]
"""A module's dotted path, or the end of one."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor as a safetensors header describes it; `start` and `end` are byte offsets within the data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """A checked header: tensors by name and the free-form metadata; the data begins at byte `data_start`."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    data_start: int


@dataclass(frozen=True, slots=True)
class LoraConfiguration:
    """What of `adapter_config.json` matters for loading and serving; `scaling` multiplies B·A·x."""

    rank: int
    scaling: float
    target_modules: frozenset[str]
    base_model: str | None
    revision: str | None


def read_safetensors_header(content: bytes | memoryview, *, size: int | None = None) -> SafetensorsHeader:
    """Check and read a safetensors header (https://github.com/huggingface/safetensors, "Format").

    `content` is the file, or its beginning when `size` gives the file's whole length in bytes. Raises AdapterRefused.
    """
    head = bytes(content[:_LENGTH_BYTES])
    size = len(content) if size is None else size
    if re.match(rb"\x80[\x02-\x05]", head) or head.startswith(b"PK\x03\x04"):
        raise AdapterRefused("The file is a pickle, which can run code when it is loaded.", code="PICKLE")
    if len(head) < _LENGTH_BYTES:
        raise _invalid("it is shorter than its own length field")
    (length,) = struct.unpack("<Q", head)
    if length > MAX_HEADER_BYTES:
        raise AdapterRefused(
            f"The safetensors header claims {length} bytes; at most {MAX_HEADER_BYTES} are read.",
            code="HEADER_TOO_LARGE",
        )
    data_start = _LENGTH_BYTES + length
    if data_start > min(size, len(content)):
        raise _invalid("it ends inside its header")
    raw = _header_json(bytes(content[_LENGTH_BYTES:data_start]))
    metadata = raw.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid("its metadata isn't text")
    tensors = {name: _tensor_info(name, entry) for name, entry in raw.items()}
    # Holes, overlaps or trailing bytes could carry a second file past every check.
    end = 0
    for info in sorted(tensors.values(), key=lambda info: (info.start, info.end)):
        if info.start != end:
            raise _invalid("its tensors leave a hole or overlap")
        end = info.end
    if end != size - data_start:
        raise _invalid(f"its tensors take {end} bytes but {size - data_start} follow the header")
    return SafetensorsHeader(tensors, metadata, data_start)


class _PlainLora(msgspec.Struct):
    """What `adapter_config.json` may say when it is a plain LoRA."""

    peft_type: Literal["LORA"]
    r: Annotated[int, msgspec.Meta(ge=1, le=MAX_RANK)]
    lora_alpha: Annotated[float, msgspec.Meta(gt=0)]
    # A text would be a regular expression or "all-linear": the first can hang the loader, the second names nothing.
    target_modules: Annotated[list[ModuleName], msgspec.Meta(min_length=1)]
    lora_dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    task_type: Literal["CAUSAL_LM"] | None = None
    bias: Literal["none"] = "none"
    use_rslora: bool = False
    init_lora_weights: bool = True
    inference_mode: bool = True
    base_model_name_or_path: str | None = None
    revision: str | None = None
    peft_version: str | None = None


def check_adapter_config(content: bytes, *, base_model: str | None = None) -> LoraConfiguration:
    """Check the bytes of `adapter_config.json`: a plain LoRA, of that base if given, and no reference to code.

    Raises AdapterRefused.
    """
    if len(content) > MAX_CONFIG_BYTES:
        raise _config("is too large")
    try:
        raw = json.loads(content, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
        _refuse_code(raw)
        config = msgspec.convert(raw, _PlainLora)
    except (ValueError, RecursionError) as error:
        raise _config(f"isn't a plain LoRA's: {error}") from error
    for key, value in raw.items():
        if key not in config.__struct_fields__ and value not in (None, False, {}, []) and _INERT.get(key) != value:
            raise _config(f"sets {key:.100}, which a plain LoRA adapter doesn't use", key)
    base = config.base_model_name_or_path
    if base_model is not None and base != base_model:
        raise _config(f"is for the base model {base!r:.200}, not {base_model!r}", "base_model_name_or_path")
    scaling = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
    return LoraConfiguration(config.r, scaling, frozenset(config.target_modules), base, config.revision)


def check_adapter_weights(
    header: SafetensorsHeader,
    configuration: LoraConfiguration,
    *,
    base_shapes: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """Check that the tensors are whole LoRA pairs of the configuration's rank and modules, and nothing else.

    With `base_shapes` (module name to (out, in) features, see `linear_shapes`) also that each pair fits the base:
    peft ignores keys that it can't place, and such an adapter silently answers like its base. Raises AdapterRefused.
    """
    pairs: dict[str, dict[str, TensorInfo]] = {}
    for key, info in header.tensors.items():
        match = _LORA_KEY.fullmatch(key)
        if match is None:
            raise _keys(f"{key!r:.200} isn't a LoRA weight")
        if info.dtype not in _ADAPTER_DTYPES:
            raise _shape(f"{key} is {info.dtype}; a LoRA weight is F32, F16 or BF16")
        pairs.setdefault(match[1], {})[match[2]] = info
    if not pairs:
        raise _keys("there are no weights")
    for module, pair in pairs.items():
        if not any(module == name or module.endswith("." + name) for name in configuration.target_modules):
            raise _keys(f"{module} isn't among the configuration's target modules")
        _check_pair(module, pair, configuration.rank, base_shapes)


def _check_pair(
    module: str, pair: Mapping[str, TensorInfo], rank: int, base_shapes: Mapping[str, tuple[int, int]] | None
) -> None:
    if pair.keys() != {"A", "B"}:
        raise _keys(f"{module} has only one of lora_A and lora_B")
    match (pair["A"].shape, pair["B"].shape):
        case ((int(rows), int(features_in)), (int(features_out), int(columns))) if rows == columns == rank:
            pass
        case shapes:
            raise _shape(f"{module} has shapes {shapes[0]} and {shapes[1]}, which isn't rank {rank}")
    if base_shapes is not None and module not in base_shapes:
        raise _keys(f"the base model has no linear module {module}")
    if base_shapes is not None and (features_out, features_in) != base_shapes[module]:
        raise _shape(f"{module} maps {features_in} to {features_out} features, the base {base_shapes[module]}")


def check_adapter(
    files: Mapping[str, bytes],
    *,
    base_model: str | None = None,
    base_shapes: Mapping[str, tuple[int, int]] | None = None,
) -> LoraConfiguration:
    """Check an adapter's weights and configuration together; other files are ignored. Raises AdapterRefused."""
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if name not in files:
            raise AdapterRefused(f"{name} is missing.", code="FILES_MISMATCH", field=name)
    header = read_safetensors_header(files[WEIGHTS_NAME])
    configuration = check_adapter_config(files[CONFIG_NAME], base_model=base_model)
    check_adapter_weights(header, configuration, base_shapes=base_shapes)
    return configuration


def linear_shapes(header: SafetensorsHeader) -> dict[str, tuple[int, int]]:
    """Module name to (out, in) features of every 2-D `….weight` in a base model's header.

    Embeddings are 2-D too: the map is for looking modules up, not for listing the linear ones.
    """
    return {
        name.removesuffix(".weight"): (info.shape[0], info.shape[1])
        for name, info in header.tensors.items()
        if name.endswith(".weight") and len(info.shape) == 2  # noqa: PLR2004
    }


def verify_files(files: Path | Mapping[str, bytes], manifest: AdapterManifest) -> None:
    """Check that a folder, or a mapping of names to contents, holds exactly the manifest's files, unchanged.

    The manifest and its signature may lie beside them, and hidden entries, which nothing loads (`hf download` keeps
    its bookkeeping in one). Raises AdapterRefused (`FILES_MISMATCH`).
    """
    if set(manifest.files) != set(ADAPTER_FILES):
        raise AdapterRefused(f"A manifest covers {', '.join(ADAPTER_FILES)}.", code="FILES_MISMATCH")
    present = (
        {entry.name for entry in files.iterdir() if not entry.name.startswith(".")}
        if isinstance(files, Path)
        else set(files)
    )
    for name in sorted(present - set(manifest.files) - {MANIFEST_NAME, SIGNATURE_NAME}):
        raise AdapterRefused(f"{name!r:.200} isn't in the manifest.", code="FILES_MISMATCH", field=name)
    for name, expected in manifest.files.items():
        if name not in present:
            raise AdapterRefused(f"{name} is missing.", code="FILES_MISMATCH", field=name)
        found = digest_file(files / name) if isinstance(files, Path) else FileDigest.of(files[name])
        if found != expected:
            raise AdapterRefused(f"{name} isn't the file that the manifest vouches for.", code="FILES_MISMATCH")


def digest_file(path: Path) -> FileDigest:
    """Size and SHA-256 of a file, read in blocks, also through a link: the hub's cache is made of them."""
    if not path.is_file():
        raise AdapterRefused(f"{path.name} isn't a plain file.", code="FILES_MISMATCH", field=path.name)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileDigest(file.tell(), sha256)


def _header_json(content: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(content, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"its header isn't JSON ({error})") from error
    if not isinstance(raw, dict):
        raise _invalid("its header isn't an object")
    return raw


def _tensor_info(name: str, entry: Any) -> TensorInfo:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(end)]} if len(entry) == 3:  # noqa: PLR2004
            pass
        case _:
            raise _invalid(f"its entry {name!r:.200} is malformed")
    if dtype not in _ITEM_BYTES or not all(type(side) is int and side >= 0 for side in shape):
        raise _invalid(f"its entry {name!r:.200} has a dtype or shape that isn't known")
    if start < 0 or end - start != math.prod(shape) * _ITEM_BYTES[dtype]:
        raise _invalid(f"its entry {name!r:.200} takes another size than its shape")
    return TensorInfo(dtype, tuple(shape), start, end)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two readers that keep different ones of two equal keys see two different files.
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a key appears twice")
    return unique


def _refuse_code(value: Any) -> None:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            for key in sorted(_CODE_KEYS & item.keys()):
                if item[key] is not None:
                    raise AdapterRefused(
                        f"{CONFIG_NAME} sets {key}, which makes loaders run code.", code="CODE_REFERENCE", field=key
                    )
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} isn't a number")


def _invalid(what: str) -> AdapterRefused:
    return AdapterRefused(f"The file isn't a well-formed safetensors file: {what}.", code="WEIGHTS_INVALID")


def _config(what: str, field: str | None = None) -> AdapterRefused:
    return AdapterRefused(f"{CONFIG_NAME} {what}.", code="CONFIG_INVALID", field=field)


def _keys(what: str) -> AdapterRefused:
    return AdapterRefused(f"{WEIGHTS_NAME} doesn't hold a LoRA adapter: {what}.", code="WEIGHTS_KEYS")


def _shape(what: str) -> AdapterRefused:
    return AdapterRefused(f"{WEIGHTS_NAME} doesn't fit: {what}.", code="WEIGHTS_SHAPE")
