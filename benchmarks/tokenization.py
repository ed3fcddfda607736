"""Counting a quote's tokens: our sandboxed template and `tokenizers`, against transformers' `apply_chat_template`.

Both give the same ids and loss mask (tests/training_workers/test_tokenization_like_transformers.py); ours runs in an
API process, which imports no training stack.
"""

import os
from pathlib import Path

from measure import interleave, median, report
from transformers import AutoTokenizer

from tunery.training.catalogue import BUNDLED_FOLDER
from tunery.training.tokenization import Tokenizer
from tunery.training.validation import read_conversations

LARGE = "LARGE" in os.environ
COPIES, ROUNDS = (20, 15) if LARGE else (4, 7)


def main() -> None:
    folder = BUNDLED_FOLDER / "tiny"
    lines = (Path(__file__).parents[1] / "examples" / "support.jsonl").read_bytes().splitlines()
    conversations = list(read_conversations(iter(lines))) * COPIES
    ours = Tokenizer.from_folder(folder, context_length=1024)
    theirs = AutoTokenizer.from_pretrained(folder)

    def count_ours() -> int:
        return sum(row.tokens for row in ours.encode_conversations(conversations))

    def count_theirs() -> int:
        total = 0
        for messages in conversations:
            row = theirs.apply_chat_template(messages, return_assistant_tokens_mask=True, return_dict=True)
            total += len(row["input_ids"])
        return total

    tokens = count_ours()
    assert tokens == count_theirs()
    seconds = interleave({"tunery": count_ours, "transformers": count_theirs}, ROUNDS)
    rows = [
        {"contender": name, "tokens per CPU-second": tokens / median(times), "CPU-seconds": median(times)}
        for name, times in seconds.items()
    ]
    ratio = median(seconds["transformers"]) / median(seconds["tunery"])
    goal = {"what": "tokens per CPU-second, tunery : transformers", "goal": 1.0, "value": ratio, "holds": ratio >= 1}
    report("tokenization", rows, [goal])


if __name__ == "__main__":
    main()
