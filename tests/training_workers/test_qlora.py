import math
from collections.abc import Callable, Sequence

import bitsandbytes
import msgspec
import pytest
import torch

from tunery.core.errors import InvalidInput
from tunery.training.tokenization import IGNORED_LABEL, TokenizedRow
from tunery.training.training_spec import TrainingSpec
from tunery.training_workers.base_model import BaseModel, DropoutKey, KeyedDropout, set_dropout
from tunery.training_workers.checkpoints import CheckpointRefused, TrainerState, dump_checkpoint, parse_checkpoint
from tunery.training_workers.evaluation import evaluate
from tunery.training_workers.loss import micro_batches, summed_loss
from tunery.training_workers.qlora import NothingToTrain, QLoRATrainer, StepResult, TrainingDiverged

SPEC = TrainingSpec(rank=8, dropout=0.1, learning_rate=4e-3, batch_rows=5, epochs=2, seed=3)


def run(trainer: QLoRATrainer, steps: int | None = None) -> list[StepResult]:
    return [trainer.step() for _ in range(trainer.steps_total - trainer.steps_done if steps is None else steps)]


def assert_same_bits(one: TrainerState, other: TrainerState) -> None:
    assert one.metadata == other.metadata
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name


def poison(trainer: QLoRATrainer, value: float) -> None:
    with torch.no_grad():
        next(iter(trainer._parameters.values())).fill_(value)


def test_resuming_gives_the_same_bits_with_dropout(base: BaseModel, rows: Sequence[TokenizedRow]) -> None:
    whole = QLoRATrainer(base, SPEC, rows)
    expected = run(whole)
    first = QLoRATrainer(base, SPEC, rows)
    results = run(first, 3)
    content = dump_checkpoint(first.state())
    run(first, 1)  # work that a crash loses
    torch.manual_seed(999)  # another process: nothing may depend on its global random state
    second = QLoRATrainer(base, SPEC, rows)
    second.load_state(parse_checkpoint(content))
    evaluate(second.model, rows[:4])
    results += run(second)
    assert results == expected
    assert_same_bits(second.state(), whole.state())
    assert second.tokens_done == sum(row.tokens for row in rows) * SPEC.epochs


def test_dropout_matters_and_the_seed_decides_it(base: BaseModel, rows: Sequence[TokenizedRow]) -> None:
    def second_loss(spec: TrainingSpec) -> float:
        return run(QLoRATrainer(base, spec, rows), 2)[1].loss

    losses = [
        second_loss(SPEC),
        second_loss(msgspec.structs.replace(SPEC, dropout=0.0)),
        second_loss(msgspec.structs.replace(SPEC, seed=4)),
    ]
    assert len(set(losses)) == 3
    assert second_loss(SPEC) == losses[0]


def test_dropout_masks_depend_on_place_alone_and_keep_the_mean() -> None:
    def mask(seed: int, step: int, micro_batch: int, module: str) -> torch.Tensor:
        key = DropoutKey(seed)
        key.step, key.micro_batch = step, micro_batch
        found: torch.Tensor = KeyedDropout(0.25, key, module)(torch.ones(64, 64))
        return found

    places = [(1, 0, 0, "q"), (2, 0, 0, "q"), (1, 1, 0, "q"), (1, 0, 1, "q"), (1, 0, 0, "k")]
    masks = [mask(*place) for place in places]
    assert all(torch.equal(mask(*place), found) for place, found in zip(places, masks, strict=True))
    assert not any(torch.equal(one, other) for i, one in enumerate(masks) for other in masks[:i])
    assert masks[0].mean().item() == pytest.approx(1, abs=0.05)
    assert (masks[0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_jobs_that_share_a_base_do_not_see_each_other(base: BaseModel, rows: Sequence[TokenizedRow]) -> None:
    alone = QLoRATrainer(base, SPEC, rows)
    expected = run(alone, 3)
    one, other = QLoRATrainer(base, SPEC, rows), QLoRATrainer(base, msgspec.structs.replace(SPEC, seed=9), rows[:9])
    found = []
    for _ in range(3):
        found.append(one.step())
        if not other.finished:
            other.step()
    assert found == expected
    assert not any("lora" in name for name, _ in base.model.named_parameters())
    weights = {id(p) for p in base.model.parameters()}
    assert all(id(p) in weights for name, p in one.model.named_parameters() if "lora" not in name)


def test_the_loss_falls_and_the_adapter_beats_its_base(
    base: BaseModel, make_rows: Callable[[int], list[TokenizedRow]]
) -> None:
    shop = make_rows(40)
    trainer = QLoRATrainer(base, TrainingSpec(learning_rate=4e-3, epochs=3, batch_rows=8), shop[:32])
    before = evaluate(trainer.model, shop[32:])
    results = run(trainer)
    after, of_base = evaluate(trainer.model, shop[32:]), evaluate(trainer.model, shop[32:], use_adapter=False)
    assert results[-1].loss < 0.5 * results[0].loss
    assert after.loss < 0.7 * of_base.loss
    assert before == of_base  # a fresh adapter is its base
    assert of_base.tokens == sum(row.trainable_tokens for row in shop[32:])
    assert after.perplexity == pytest.approx(math.exp(after.loss))


def test_steps_count_every_row_once_an_epoch(base: BaseModel, rows: Sequence[TokenizedRow]) -> None:
    trainer = QLoRATrainer(base, msgspec.structs.replace(SPEC, batch_rows=10), rows)
    results = run(trainer)
    assert [(result.step, result.epoch) for result in results] == [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1)]
    assert sum(result.tokens for result in results[:3]) == sum(row.tokens for row in rows)
    assert sum(result.trainable_tokens for result in results[3:]) == sum(row.trainable_tokens for row in rows)
    assert trainer.finished
    with pytest.raises(RuntimeError):
        trainer.step()


@pytest.mark.parametrize(("scheduler", "middle"), [("linear", 0.5), ("cosine", 0.5)])
def test_learning_rate_warms_up_and_falls(
    base: BaseModel, rows: Sequence[TokenizedRow], scheduler: str, middle: float
) -> None:
    spec = msgspec.convert(SPEC.to_dict() | {"scheduler": scheduler, "warmup_ratio": 0.2, "epochs": 4}, TrainingSpec)
    trainer = QLoRATrainer(base, spec, rows)
    rates = [trainer._learning_rate(step) / spec.learning_rate for step in range(trainer.steps_total)]
    assert trainer.steps_total == 20
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[12] == pytest.approx(middle)
    assert 0 < rates[-1] < 0.1
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_only_labels_are_learned_and_micro_batches_do_not_change_the_loss(
    base: BaseModel, rows: Sequence[TokenizedRow]
) -> None:
    trainer = QLoRATrainer(base, msgspec.structs.replace(SPEC, dropout=0.0), rows)
    together = summed_loss(trainer.model, rows[:6], base.device).item()
    apart = sum(summed_loss(trainer.model, part, base.device).item() for part in micro_batches(rows[:6], 60))
    assert together == pytest.approx(apart, rel=1e-5)
    # The reference: transformers' own loss, row by row.
    reference = 0.0
    for row in rows[:6]:
        labels = torch.tensor([row.labels])
        output = trainer.model(input_ids=torch.tensor([row.input_ids]), labels=labels)
        reference += output.loss.item() * row.trainable_tokens
    assert together == pytest.approx(reference, rel=1e-4)


def test_micro_batches_bound_the_padded_tokens() -> None:
    made = [TokenizedRow([1] * size, [1] * size) for size in (3, 5, 2, 20, 1)]
    assert [[row.tokens for row in part] for part in micro_batches(made, 10)] == [[3, 5], [2], [20], [1]]


def test_masters_are_fp32_and_the_base_is_four_bit(base: BaseModel, rows: Sequence[TokenizedRow]) -> None:
    trainer = QLoRATrainer(base, SPEC, rows)
    assert {parameter.dtype for parameter in trainer._parameters.values()} == {torch.float32}
    assert len(trainer._parameters) == 4 * 7 * 2
    quantised = [module for module in trainer.model.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    assert len(quantised) == 4 * 7
    assert {module.weight.quant_state.quant_type for module in quantised} == {"nf4"}
    assert all(module.weight.quant_state.nested for module in quantised)


def test_evaluation_leaves_the_shared_weights_as_they_are(base: BaseModel, rows: Sequence[TokenizedRow]) -> None:
    trainer = QLoRATrainer(base, SPEC, rows)
    before = {name: p.clone() for name, p in base.model.named_parameters()}
    set_dropout(trainer.model, active=False)
    evaluate(trainer.model, rows[:2], use_adapter=False)
    assert all(torch.equal(before[name], p) for name, p in base.model.named_parameters())


def test_rows_without_anything_to_learn_are_left_out_and_alone_refused(
    base: BaseModel, rows: Sequence[TokenizedRow]
) -> None:
    masked = [TokenizedRow(row.input_ids, [IGNORED_LABEL] * row.tokens) for row in rows]
    with pytest.raises(NothingToTrain):
        QLoRATrainer(base, SPEC, masked)
    with pytest.raises(NothingToTrain):
        QLoRATrainer(base, msgspec.structs.replace(SPEC, max_length=4), rows)
    with pytest.raises(InvalidInput):
        evaluate(QLoRATrainer(base, SPEC, rows).model, masked)
    trainer = QLoRATrainer(base, SPEC, [*rows[:3], *masked])
    assert (trainer.rows, trainer.rows_left_out, trainer.steps_total) == (3, len(masked), 2)


def test_a_step_that_is_not_finite_changes_nothing_and_three_in_a_row_end_the_run(
    base: BaseModel, rows: Sequence[TokenizedRow]
) -> None:
    trainer = QLoRATrainer(base, SPEC, rows)
    trainer.step()
    good = trainer.state()
    poison(trainer, math.nan)
    poisoned = trainer.state()
    billed = trainer.tokens_done
    result = trainer.step()
    assert result.skipped
    assert trainer.tokens_done == billed
    assert all(torch.equal(t, poisoned.tensors[n]) or t.isnan().all() for n, t in trainer.state().tensors.items())
    with torch.no_grad():
        for name, parameter in trainer._parameters.items():
            parameter.copy_(good.tensors[f"adapter/{name}"])
    assert not trainer.step().skipped  # one good step starts the count anew
    poison(trainer, math.inf)
    assert [trainer.step().skipped for _ in range(2)] == [True, True]
    with pytest.raises(TrainingDiverged):
        trainer.step()


def test_a_state_of_another_run_is_refused_and_changes_nothing(base: BaseModel, rows: Sequence[TokenizedRow]) -> None:
    source = QLoRATrainer(base, SPEC, rows)
    source.step()
    state = source.state()
    name = next(iter(state.tensors))
    wrong = [
        QLoRATrainer(base, msgspec.structs.replace(SPEC, seed=8), rows).state(),
        QLoRATrainer(base, SPEC, rows[:-1]).state(),
        TrainerState({key: value for key, value in state.tensors.items() if key != name}, state.metadata),
        TrainerState({**state.tensors, name: state.tensors[name].double()}, state.metadata),
        TrainerState({**state.tensors, "adapter/extra": torch.zeros(1)}, state.metadata),
        TrainerState(state.tensors, {**state.metadata, "progress": {"steps_done": "many"}}),
    ]
    trainer = QLoRATrainer(base, SPEC, rows)
    before = trainer.state()
    for bad in wrong:
        with pytest.raises(CheckpointRefused):
            trainer.load_state(bad)
    assert_same_bits(trainer.state(), before)


@pytest.mark.parametrize("change", [{"rank": 0}, {"learning_rate": math.nan}, {"epochs": 0}, {"dropout": 1.0}])
def test_a_spec_that_makes_no_sense_names_its_field(change: dict[str, float]) -> None:
    with pytest.raises(InvalidInput) as caught:
        TrainingSpec(**change)  # type: ignore[arg-type]
    assert caught.value.field == next(iter(change))
