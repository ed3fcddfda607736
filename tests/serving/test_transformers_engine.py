"""The embedded engine on the real tiny base: always the right adapter, and no other files than the digest's."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import torch
from loopback import eventually
from lora_adapters import TINY, TINY_FOLDER, MadeAdapter, make_adapter, random_weights
from peft import PeftModel
from scripted_engine import TOKENIZER
from tiny_source import TinySource

from tunery.core.errors import DomainError
from tunery.core.storage import ObjectStorage
from tunery.serving.chat_request import ChatRequest
from tunery.serving.engines.decoding import ChatDecoder
from tunery.serving.engines.engine import ChatDelta, ContextLengthExceeded, EngineBusy, ModelNotLoaded
from tunery.serving.engines.transformers_engine import TransformersEngine
from tunery.training.adapter_manifest import CONFIG_NAME, WEIGHTS_NAME, AdapterRefused
from tunery.training_workers.base_model import load_base_model, set_dropout

# peft's business with transformers.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

QUESTIONS = ["When do you open?", "What does the blue lamp cost?", "Can I return my order?"]
LENGTH = 24


def ask(model: str, question: str, **more: object) -> ChatRequest:
    settings = {"max_tokens": LENGTH, "temperature": 0.0, **more}
    return ChatRequest(model, [{"role": "user", "content": question}], **settings)


async def collect(engine: TransformersEngine, request: ChatRequest) -> list[ChatDelta]:
    return [delta async for delta in engine.chat(request)]


async def answer(engine: TransformersEngine, request: ChatRequest) -> str:
    return "".join(delta.text for delta in await collect(engine, request))


def reference(adapter: MadeAdapter | None, question: str, folder: Path) -> str:
    """What plain transformers and peft generate, with a model loaded for this adapter alone."""
    model = load_base_model(TINY_FOLDER, "1", device="cpu").model
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter.write(folder / f"{adapter.digest} {question}"))
    set_dropout(model, active=False)
    prompt = torch.tensor([TOKENIZER.encode_prompt([{"role": "user", "content": question}])])
    with torch.no_grad():
        output = model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=LENGTH, do_sample=False
        )
    return TOKENIZER.decode(output[0, prompt.shape[1] :].tolist()).rstrip("\N{REPLACEMENT CHARACTER}")


@pytest.fixture
async def own_engine(storage: ObjectStorage) -> AsyncIterator[Callable[[int], TransformersEngine]]:
    made = []

    def make(max_adapters: int) -> TransformersEngine:
        made.append(TransformersEngine(storage, TinySource(), max_adapters=max_adapters, device="cpu"))
        return made[-1]

    yield make
    for engine in made:
        await engine.close()


async def load(engine: TransformersEngine, adapter: MadeAdapter) -> None:
    await engine.load_adapter(adapter.digest, adapter.prefix, TINY)


async def test_interleaved_requests_get_what_each_adapter_says_alone(
    engine: TransformersEngine, adapters: list[MadeAdapter], tmp_path: Path
) -> None:
    first, second, _ = adapters
    await load(engine, first)
    await load(engine, second)
    asked = [(adapter, question) for question in QUESTIONS for adapter in (first, None, second)]
    expected = [reference(adapter, question, tmp_path) for adapter, question in asked]
    assert len(set(expected[:3])) == 3, "the adapters must be distinguishable"
    together = await asyncio.gather(
        *(answer(engine, ask(adapter.digest if adapter else TINY, question)) for adapter, question in asked)
    )
    assert together == expected


async def test_adapters_come_and_go_between_and_during_chats(
    engine: TransformersEngine, adapters: list[MadeAdapter]
) -> None:
    """Three adapters in two places: loads and evictions happen while other chats are under way."""
    base_alone = await answer(engine, ask(TINY, QUESTIONS[0]))
    alone = []
    for adapter in adapters:
        await load(engine, adapter)
        alone.append(await answer(engine, ask(adapter.digest, QUESTIONS[0])))
    assert len({base_alone, *alone}) == 4

    async def chat(adapter: MadeAdapter) -> str:
        while True:
            try:
                await load(engine, adapter)
                return await answer(engine, ask(adapter.digest, QUESTIONS[0]))
            except (ModelNotLoaded, EngineBusy):  # evicted before it began, or both places in use
                await asyncio.sleep(0.01)

    rounds = [adapters[number % 3] for number in range(9)]
    answers, bases = await asyncio.gather(
        asyncio.gather(*(chat(adapter) for adapter in rounds)),
        asyncio.gather(*(answer(engine, ask(TINY, QUESTIONS[0])) for _ in range(3))),
    )
    assert answers == alone * 3
    assert bases == [base_alone] * 3


async def test_loading_an_adapter_changes_no_bit_of_what_others_compute(
    own_engine: Callable[[int], TransformersEngine], adapters: list[MadeAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """bitsandbytes' packing for CPUs rounds the base anew with each load; greedy text alone would rarely show it."""
    engine = own_engine(2)
    logits: list[torch.Tensor] = []
    choose = ChatDecoder._choose

    def record(chat: ChatDecoder, given: torch.Tensor) -> int:
        logits.append(given.clone())
        return choose(chat, given)

    monkeypatch.setattr(ChatDecoder, "_choose", record)

    async def computed(model: str) -> torch.Tensor:
        logits.clear()
        await collect(engine, ask(model, QUESTIONS[0], max_tokens=4))
        return torch.stack(logits)

    first, second, third = adapters
    base = await computed(TINY)
    await load(engine, first)
    alone = await computed(first.digest)
    for other in (second, third, second):
        await load(engine, other)
        await load(engine, first)
        assert torch.equal(await computed(TINY), base)
        assert torch.equal(await computed(first.digest), alone)


async def test_the_least_recently_used_adapter_makes_room(
    own_engine: Callable[[int], TransformersEngine], adapters: list[MadeAdapter]
) -> None:
    engine = own_engine(2)
    first, second, third = adapters
    await load(engine, first)
    await load(engine, second)
    await collect(engine, ask(first.digest, "Hello", max_tokens=1))
    await load(engine, third)
    assert {model.id for model in await engine.models()} == {TINY, first.digest, third.digest}
    with pytest.raises(ModelNotLoaded):
        await collect(engine, ask(second.digest, "Hello"))


async def test_an_adapter_in_use_is_not_evicted(
    own_engine: Callable[[int], TransformersEngine], adapters: list[MadeAdapter]
) -> None:
    engine = own_engine(1)
    await load(engine, adapters[0])
    chat = engine.chat(ask(adapters[0].digest, "Hello", max_tokens=900))
    await anext(chat)
    with pytest.raises(EngineBusy):
        await load(engine, adapters[1])
    assert adapters[0].digest in {model.id for model in await engine.models()}
    await chat.aclose()
    await eventually(lambda: not engine._bases[TINY].owner._running)
    await load(engine, adapters[1])


async def test_a_prefix_with_another_adapter_is_refused(
    engine: TransformersEngine, adapters: list[MadeAdapter]
) -> None:
    unknown = make_adapter(99)
    with pytest.raises(AdapterRefused) as refusal:
        await engine.load_adapter(unknown.digest, adapters[0].prefix, TINY)
    assert refusal.value.error_code == "FILES_MISMATCH"
    await is_not_served(engine, unknown)


@pytest.mark.parametrize("name", [WEIGHTS_NAME, CONFIG_NAME])
async def test_a_changed_file_is_refused(engine: TransformersEngine, storage: ObjectStorage, name: str) -> None:
    adapter = make_adapter(50)
    content = bytearray(adapter.files[name])
    content[-1] ^= 1
    adapter.files[name] = bytes(content)
    await adapter.store(storage)
    await refused(engine, adapter, "FILES_MISMATCH")


async def test_a_missing_file_is_refused(engine: TransformersEngine, storage: ObjectStorage) -> None:
    adapter = make_adapter(51)
    del adapter.files[WEIGHTS_NAME]
    await adapter.store(storage)
    await refused(engine, adapter, "FILES_MISMATCH")


@pytest.mark.parametrize(
    ("adapter", "code"),
    [
        (make_adapter(60, weight_bytes=pickle.dumps({"a": [1]}, protocol=4)), "PICKLE"),
        (make_adapter(61, weight_bytes=b"PK\x03\x04" + bytes(100)), "PICKLE"),
        (make_adapter(62, auto_map={"AutoModel": "evil.Model"}), "CODE_REFERENCE"),
        (make_adapter(63, base_model="acme/other"), "FILES_MISMATCH"),
        (make_adapter(64, weights_sha256="f" * 64), "FILES_MISMATCH"),
        (make_adapter(65, target_modules=["down_proj", "q_proj", "v_proj"]), "WEIGHTS_KEYS"),
        (make_adapter(66, target_modules=["down_proj", "q_proj", "norm"]), "WEIGHTS_KEYS"),
        (make_adapter(67, target_modules=["q_proj"]), "WEIGHTS_KEYS"),
    ],
)
async def test_what_peft_would_run_or_ignore_is_refused(
    engine: TransformersEngine, storage: ObjectStorage, adapter: MadeAdapter, code: str
) -> None:
    await adapter.store(storage)
    await refused(engine, adapter, code)


async def test_weights_that_fit_no_module_are_refused(engine: TransformersEngine, storage: ObjectStorage) -> None:
    """peft puts in what it finds a place for and leaves the rest; the answer would be the base's."""
    weights = random_weights(70)
    missing = dict(weights)
    for side in "AB":
        del missing[f"base_model.model.model.layers.3.self_attn.q_proj.lora_{side}.weight"]
    renamed = {key.replace("model.layers", "transformer.layers"): value for key, value in weights.items()}
    beyond = {key.replace("layers.3", "layers.4"): value for key, value in weights.items()}
    wrong_shape = {key: value[:, :-1] if "lora_A" in key else value for key, value in weights.items()}
    wrong_shape = {key: value.contiguous() for key, value in wrong_shape.items()}
    cases = [(missing, "WEIGHTS_KEYS"), (renamed, "WEIGHTS_KEYS"), (beyond, "WEIGHTS_KEYS")]
    for seed, (broken, code) in enumerate([*cases, (wrong_shape, "WEIGHTS_SHAPE")], 71):
        adapter = make_adapter(seed, weights=broken)
        await adapter.store(storage)
        await refused(engine, adapter, code)


async def refused(engine: TransformersEngine, adapter: MadeAdapter, code: str) -> None:
    """The adapter isn't loaded, and the base answers as it did before."""
    before = await answer(engine, ask(TINY, QUESTIONS[0]))
    models = await engine.models()
    with pytest.raises(DomainError) as refusal:
        await load(engine, adapter)
    assert refusal.value.error_code == code
    assert await engine.models() == models
    await is_not_served(engine, adapter)
    assert await answer(engine, ask(TINY, QUESTIONS[0])) == before


async def is_not_served(engine: TransformersEngine, adapter: MadeAdapter) -> None:
    with pytest.raises(ModelNotLoaded):
        await collect(engine, ask(adapter.digest, "Hello"))


async def test_closing_a_chat_stops_its_generation(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    await collect(engine, ask(TINY, "Hello", max_tokens=1))
    owner = engine._bases[TINY].owner
    monkeypatch.setattr(ChatDecoder, "step", lambda *_: False)  # a model that never ends
    chat = engine.chat(ask(TINY, "Hello"))
    await anext(chat)
    assert owner._running or owner._waiting
    await chat.aclose()
    await eventually(lambda: not owner._running and not owner._waiting)


async def test_usage_counts_every_token_and_the_length_limit_holds(engine: TransformersEngine) -> None:
    request = ask(TINY, QUESTIONS[0], max_tokens=3)
    deltas = await collect(engine, request)
    assert deltas[0].usage.completion_tokens == 0
    assert (deltas[-1].finish_reason, deltas[-1].usage.completion_tokens) == ("length", 3)
    assert deltas[-1].usage.prompt_tokens == len(TOKENIZER.encode_prompt(request.messages))
    ended = (await collect(engine, ask(TINY, QUESTIONS[0], max_tokens=200)))[-1]
    assert ended.finish_reason == "stop"


async def test_a_seed_repeats_and_another_one_differs(engine: TransformersEngine) -> None:
    def sampled(seed: int) -> ChatRequest:
        return ask(TINY, QUESTIONS[1], temperature=1.5, top_p=0.9, seed=seed)

    first, again, other = [await answer(engine, sampled(seed)) for seed in (1, 1, 2)]
    assert first == again != other


async def test_a_stop_string_ends_the_answer_before_it(engine: TransformersEngine) -> None:
    whole = await answer(engine, ask(TINY, QUESTIONS[0]))
    stop = whole[4:7]
    deltas = await collect(engine, ask(TINY, QUESTIONS[0], stop=(stop,)))
    assert "".join(delta.text for delta in deltas) == whole[: whole.index(stop)]
    assert deltas[-1].finish_reason == "stop"


async def test_a_prompt_that_fills_the_context_is_refused(engine: TransformersEngine) -> None:
    with pytest.raises(ContextLengthExceeded):
        await collect(engine, ask(TINY, "blue lamp " * 1000))


async def test_a_model_that_is_not_served_is_refused(engine: TransformersEngine) -> None:
    with pytest.raises(ModelNotLoaded):
        await collect(engine, ask("acme/unknown", "Hello"))
    with pytest.raises(ModelNotLoaded):
        await engine.load_adapter("0" * 64, "adapters/x", "acme/unknown")
