"""Make the base model `tunery/tiny`: train its tokenizer, pre-train its weights, write the folder and its model card.

    python models/tiny/pretrain.py                          # the shipped model, some ten minutes on two quiet cores
    python models/tiny/pretrain.py --fast --out /tmp/tiny   # a minute: does it run?

The same options, library versions and number of threads give the same files.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from corpus import dialogues
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
SHIPPED = HERE.parents[1] / "tunery" / "training" / "base_models" / "tiny"
SPECIAL_TOKENS = ("<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
PAD, BOS, END, SYSTEM, USER, ASSISTANT = range(6)
CONTEXT_LENGTH = 1024
QUESTION_WEIGHT = 0.3
HELD_OUT_DIALOGUES = 400
FAST_DIALOGUES = 2_000


@dataclass(frozen=True, slots=True)
class Options:
    """What a run can be told."""

    out: Path
    dialogues: int
    epochs: int
    vocabulary: int
    layers: int
    hidden: int
    learning_rate: float
    tokens_per_step: int
    seed: int
    threads: int


def train_tokenizer(texts: Iterator[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE in which every digit is a token of its own, so that numbers are spelled alike."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL_TOKENS[BOS],
        eos_token=SPECIAL_TOKENS[END],
        pad_token=SPECIAL_TOKENS[PAD],
        model_max_length=CONTEXT_LENGTH,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = (HERE / "chat_template.jinja").read_text(encoding="utf-8")
    return wrapped


def encode(tokenizer: PreTrainedTokenizerFast, count: int, seed: int) -> list[list[int]]:
    """Write dialogues and return the tokens of each, cut to the context length."""
    rendered = [tokenizer.apply_chat_template(messages, tokenize=False) for messages in dialogues(count, seed)]
    encoded = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    return [row[:CONTEXT_LENGTH] for row in encoded]


def batches(rows: list[list[int]], tokens_per_step: int, rng: Random) -> Iterator[torch.Tensor]:
    """Yield padded batches of rows of similar length, each of about `tokens_per_step` tokens, in random order."""
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]) + rng.random() * 8)
    groups: list[list[int]] = [[]]
    for row in order:
        if groups[-1] and (len(groups[-1]) + 1) * len(rows[row]) > tokens_per_step:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    for group in groups:
        width = max(len(rows[row]) for row in group)
        yield torch.tensor([rows[row] + [PAD] * (width - len(rows[row])) for row in group])


def losses_of(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy in nats of each next token, a row shorter than `ids`."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=ids, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2).float(), ids[:, 1:], reduction="none")


def weights_of(ids: torch.Tensor) -> torch.Tensor:
    """Return what each next token counts: answers fully, what others say a little, padding nothing."""
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    marked = (ids == SYSTEM) | (ids == USER) | (ids == ASSISTANT)
    speaker = ids.gather(1, torch.where(marked, positions, 0).cummax(1).values)
    weights = torch.where(speaker == ASSISTANT, 1.0, QUESTION_WEIGHT)
    return (weights * (ids != PAD))[:, 1:]


def evaluate(model: LlamaForCausalLM, rows: list[list[int]]) -> float:
    """Return the mean loss over rows the model was not trained on."""
    model.eval()
    with torch.no_grad():
        losses = [losses_of(model, ids)[ids[:, 1:] != PAD] for ids in batches(rows, 8192, Random(0))]
    model.train()
    return torch.cat(losses).mean().item()


def new_model(options: Options, vocabulary: int) -> LlamaForCausalLM:
    """Build the network with fresh weights. Every width is a multiple of 64, the block size of NF4."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=options.hidden,
            intermediate_size=options.hidden * 11 // 4 // 64 * 64,
            num_hidden_layers=options.layers,
            num_attention_heads=options.hidden // 64,
            num_key_value_heads=options.hidden // 64,
            max_position_embeddings=CONTEXT_LENGTH,
            tie_word_embeddings=True,
            bos_token_id=BOS,
            eos_token_id=END,
            pad_token_id=PAD,
        )
    )


def pretrain(model: LlamaForCausalLM, rows: list[list[int]], options: Options) -> int:
    """Train with AdamW (warm-up, then cosine to a tenth) and return the number of tokens seen."""
    decayed = [weight for weight in model.parameters() if weight.dim() > 1]
    kept = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": kept, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.95), fused=True)
    rng = Random(options.seed)
    plan = [ids for _ in range(options.epochs) for ids in batches(rows, options.tokens_per_step, rng)]
    warm_up = max(1, len(plan) // 20)
    seen, smoothed, started = 0, 0.0, time.monotonic()
    for step, ids in enumerate(plan):
        done = max(0, step - warm_up) / max(1, len(plan) - warm_up)
        factor = min(1.0, (step + 1) / warm_up) * (0.55 + 0.45 * math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * factor
        weights = weights_of(ids)
        loss = (losses_of(model, ids) * weights).sum() / weights.sum()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += int((ids != PAD).sum())
        smoothed = loss.item() if step == 0 else 0.95 * smoothed + 0.05 * loss.item()
        if step % 50 == 0 or step + 1 == len(plan):
            speed = f"{seen / (time.monotonic() - started):,.0f} tokens/s"
            print(f"step {step + 1:>5}/{len(plan)}  loss {smoothed:.3f}  {seen:,} tokens  {speed}", flush=True)
    return seen


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> int:
    """Write the folder in bfloat16 and return the bytes of its weights."""
    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        bos_token_id=BOS, eos_token_id=END, pad_token_id=PAD, do_sample=False, max_new_tokens=128
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    # The class name that every version of transformers knows; 5.x writes one of its own.
    settings = json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    weights = out / "model.safetensors"
    save_file(load_file(weights), weights, metadata={"format": "pt"})
    return weights.stat().st_size


def write_card(out: Path, figures: dict[str, str]) -> None:
    """Fill the figures of this run into the model card."""
    card = (HERE / "model_card.md").read_text(encoding="utf-8")
    for name, figure in figures.items():
        card = card.replace("{" + name + "}", figure)
    (out / "README.md").write_text(card, encoding="utf-8")


def run(options: Options) -> None:
    """Make the model and write it to `options.out`."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(mode=True)
    started = time.monotonic()
    texts = (message["content"] for dialogue in dialogues(options.dialogues, options.seed) for message in dialogue)
    tokenizer = train_tokenizer(texts, options.vocabulary)
    rows = encode(tokenizer, options.dialogues, options.seed)
    held_out = encode(tokenizer, HELD_OUT_DIALOGUES, options.seed + 1)
    model = new_model(options, len(tokenizer))
    parameters = model.num_parameters()
    tokens = sum(map(len, rows))
    longest = max(map(len, rows))
    print(f"{len(rows):,} dialogues, {tokens:,} tokens, longest {longest}; {parameters:,} parameters", flush=True)
    seen = pretrain(model, rows, options)
    loss = evaluate(model, held_out)
    size = save(model, tokenizer, options.out)
    seconds = time.monotonic() - started
    print(f"held-out loss {loss:.3f}, {seconds:.0f} s in all, weights of {size:,} bytes in {options.out}")
    write_card(
        options.out,
        {
            "parameters": f"{parameters:,}",
            "layers": str(options.layers),
            "hidden": str(options.hidden),
            "intermediate": str(model.config.intermediate_size),
            "heads": str(model.config.num_attention_heads),
            "vocabulary": f"{len(tokenizer):,}",
            "context": f"{CONTEXT_LENGTH:,}",
            "dialogues": f"{options.dialogues:,}",
            "held_out_dialogues": f"{HELD_OUT_DIALOGUES:,}",
            "tokens": f"{tokens:,}",
            "longest": f"{longest:,}",
            "epochs": str(options.epochs),
            "seen": f"{seen:,}",
            "learning_rate": f"{options.learning_rate:g}",
            "tokens_per_step": f"{options.tokens_per_step:,}",
            "question_weight": f"{QUESTION_WEIGHT:g}",
            "seed": str(options.seed),
            "loss": f"{loss:.3f}",
            "untrained_loss": f"{math.log(len(tokenizer)):.2f}",
            "minutes": f"{seconds / 60:.1f}",
            "threads": str(options.threads),
            "megabytes": f"{size / 1e6:.1f}",
        },
    )


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder to write (default: the shipped one)")
    parser.add_argument("--dialogues", type=int, default=110_000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--tokens-per-step", type=int, default=3072)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--fast", action="store_true", help=f"only {FAST_DIALOGUES:,} dialogues: a look at whether it runs"
    )
    chosen = vars(parser.parse_args())
    if chosen.pop("fast"):
        chosen["dialogues"] = FAST_DIALOGUES
    run(Options(**chosen))


if __name__ == "__main__":
    main()
