"""The shipped tiny base, quantised once, and rows of invented shops that it can learn within seconds."""

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import pytest
import torch

from tunery.training.tokenization import TokenizedRow, Tokenizer
from tunery.training_workers.base_model import BaseModel, BaseModelCache


def pytest_configure(config: pytest.Config) -> None:
    # peft 0.21 asks transformers 5.23 under a name that is deprecated there.
    config.addinivalue_line("filterwarnings", "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Two OpenMP threads on a busy machine wait for each other; results are also compared bit for bit.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base_folder() -> Path:
    with as_file(files("tunery.training") / "base_models" / "tiny") as folder:
        return folder


@pytest.fixture(scope="session")
def tokenizer(base_folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(base_folder, context_length=1_024)


@pytest.fixture(scope="session")
def bases() -> BaseModelCache:
    return BaseModelCache("cpu")


@pytest.fixture(scope="session")
def base(bases: BaseModelCache, base_folder: Path) -> BaseModel:
    return bases.get(base_folder, "main")


MakeRows = Callable[[int], list[TokenizedRow]]


@pytest.fixture(scope="session")
def make_rows(tokenizer: Tokenizer) -> MakeRows:
    """Rows of one invented shop, of different lengths."""

    def make(count: int) -> list[TokenizedRow]:
        return [
            tokenizer.encode_conversation(
                [
                    {"role": "system", "content": "You answer for Brass & Fern."},
                    {"role": "user", "content": f"What does lamp {index} cost?{' Please tell me.' * (index % 3)}"},
                    {"role": "assistant", "content": f"Lamp {index} costs {index * 7 % 50} pounds."},
                ]
            )
            for index in range(count)
        ]

    return make


@pytest.fixture(scope="session")
def rows(make_rows: MakeRows) -> list[TokenizedRow]:
    return make_rows(24)
