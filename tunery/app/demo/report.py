"""The demo's last word: a table of what was measured, and every figure that must agree compared with its fellows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from rich.console import Console
from rich.table import Table

from tunery.app.demo.example import Question
from tunery.app.demo.play import PRICE, Figures
from tunery.core.money import token_price

LEAST_IMPROVEMENT = 0.40
"""Of the held-out loss, adapter against base."""
LEAST_RIGHT, MOST_RIGHT_BY_BASE = 18, 1
SHOWN_QUESTIONS = 3


@dataclass(frozen=True)
class Check:
    """Something that must hold, in words, with the figures it was judged by."""

    what: str
    holds: bool
    figures: str


def checks(figures: Figures, questions: Sequence[Question], *, fast: bool) -> list[Check]:
    """All that the demo asserts. A fast run trains too little to be judged by its answers."""
    found = [*_training(figures), *_money(figures), *_safety(figures)]
    return found if fast else [*found, *_quality(figures, questions)]


def right_answers(questions: Sequence[Question], answers: Sequence[str]) -> int:
    return sum(question.is_right(answer) for question, answer in zip(questions, answers, strict=True))


def improvement(figures: Figures) -> float:
    """By which share of the base's held-out loss the adapter's is lower."""
    metrics = figures.version["manifest"]["metrics"]
    return float(1 - metrics["adapter_loss"] / metrics["base_loss"])


def _training(figures: Figures) -> Iterator[Check]:
    quoted = figures.quote["trainedTokens"]
    trained = figures.job["trainedTokens"]
    manifest = figures.version["manifest"]["trained_tokens"]
    settled = figures.accounts["seller"]["usage"].get("trained_tokens")
    yield _equal("tokens quoted = trained = in the manifest = settled", quoted, trained, manifest, settled)


def _money(figures: Figures) -> Iterator[Check]:
    for side in ("seller", "buyer"):
        account = figures.accounts[side]
        yield _equal(f"{side}: usage = invoice preview, token by token", account["usage"], account["invoiced"])
        told = figures.chat_tokens.get(side, {})
        metered = {meter: count for meter, count in account["usage"].items() if meter != "trained_tokens"}
        yield _equal(f"{side}: tokens that the client was told = metered", told, metered)
        spent = account["granted"] - account["balance"]
        yield _equal(
            f"{side}: credit spent = usage = invoice", spent, account["used"], account["subtotal"], account["applied"]
        )
        yield _equal(f"{side}: nothing is left reserved or due", 0, account["reserved"], account["due"])
    sale = figures.sales[0]
    yield _equal("price = paid = the sale's gross", PRICE, figures.purchase["price"], sale["gross"])
    earned = figures.accounts["seller"]["earnings"]
    yield _equal("gross less fee = net = earnings", PRICE - sale["fee"], sale["net"], int(earned * 100))


def _safety(figures: Figures) -> Iterator[Check]:
    yield Check(
        "ML-DSA-65 signature and every file's hash hold",
        figures.signature_problem is None,
        figures.signature_problem or "",
    )
    yield _equal("memories told to a new customer, to a known one, to an erased one", figures.remembered, [0, 1, 0])
    yield Check(
        "the erasure's certificate is signed and complete",
        figures.erasure_problem is None,
        figures.erasure_problem or "",
    )
    yield Check("download without a purchase is refused (403, GatedRepo)", figures.refused_without_purchase, "")
    yield Check("PeftModel.from_pretrained loads the download", figures.reloaded_by_peft, "")


def _quality(figures: Figures, questions: Sequence[Question]) -> Iterator[Check]:
    share = improvement(figures)
    yield Check(
        f"held-out loss at least {LEAST_IMPROVEMENT:.0%} below the base's", share >= LEAST_IMPROVEMENT, f"{share:.0%}"
    )
    adapter, base = (right_answers(questions, figures.answers[model]) for model in ("adapter", "base"))
    yield Check(f"at least {LEAST_RIGHT} questions right with the adapter", adapter >= LEAST_RIGHT, str(adapter))
    yield Check(f"at most {MOST_RIGHT_BY_BASE} right by the base", base <= MOST_RIGHT_BY_BASE, str(base))


def _equal(what: str, *values: object) -> Check:
    return Check(what, all(value == values[0] for value in values), " = ".join(map(_shown, values)))


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {count}" for key, count in sorted(value.items())) + "}"
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def print_report(console: Console, figures: Figures, questions: Sequence[Question], found: Sequence[Check]) -> None:
    """The table that `make demo` ends with."""
    metrics = figures.version["manifest"]["metrics"]
    seller, buyer = figures.accounts["seller"], figures.accounts["buyer"]
    table = Table(title="From a data set to a sold and deployed adapter", show_header=False)
    for name, value in (
        ("tokens quoted · trained · settled", _training_figures(figures)),
        ("price quoted · charged", f"${Decimal(figures.quote['price']):.6f} · ${_training_cost(figures):.6f}"),
        ("training", f"{figures.training_seconds:.0f} s"),
        (
            "held-out loss, base → adapter",
            f"{metrics['base_loss']:.3f} → {metrics['adapter_loss']:.3f} ({-improvement(figures):.0%})",
        ),
        ("right answers, base · adapter", _right_figures(figures, questions)),
        ("digest", figures.version["digest"]),
        ("seller paid · earned", f"${seller['used']:.6f} from credit · ${seller['earnings']:.2f}"),
        ("buyer paid", f"${figures.purchase['price'] / 100:.2f} by card · ${buyer['used']:.6f} from credit"),
    ):
        table.add_row(name, value)
    console.print(table)

    answers = Table(title="The same questions, answered by base and adapter")
    for column in ("question", "base", "adapter"):
        answers.add_column(column, overflow="fold")
    for index, question in enumerate(questions[:SHOWN_QUESTIONS]):
        answers.add_row(question.text, figures.answers["base"][index], figures.answers["adapter"][index])
    console.print(answers)

    verdicts = Table(title="What must hold")
    for column in ("", "what", "figures"):
        verdicts.add_column(column, overflow="fold")
    for check in found:
        verdicts.add_row("[green]✓[/]" if check.holds else "[red]✗[/]", check.what, check.figures)
    console.print(verdicts)


def _training_figures(figures: Figures) -> str:
    settled = figures.accounts["seller"]["usage"]["trained_tokens"]
    return f"{figures.quote['trainedTokens']:,} · {figures.job['trainedTokens']:,} · {settled:,}"


def _training_cost(figures: Figures) -> Decimal:
    return token_price(figures.accounts["seller"]["usage"]["trained_tokens"], Decimal(figures.quote["unitPrice"]))


def _right_figures(figures: Figures, questions: Sequence[Question]) -> str:
    base, adapter = (right_answers(questions, figures.answers[model]) for model in ("base", "adapter"))
    return f"{base} · {adapter} of {len(questions)}"
