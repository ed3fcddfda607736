"""`tunery demo`: start everything, play, report, stop (or stay)."""

import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tunery.app.demo import play
from tunery.app.demo.commands import print_commands
from tunery.app.demo.example import Question, example_folder, load_questions
from tunery.app.demo.play import Figures, Party
from tunery.app.demo.report import checks, print_report
from tunery.app.embedded.errors import CannotStart
from tunery.app.settings import Settings
from tunery.app.up import Up, run_up
from tunery.training.catalogue import BUNDLED_FOLDER

SPEC = {"rank": 16, "alpha": 32.0, "learningRate": 4e-3, "batchRows": 8, "epochs": 8, "warmupRatio": 0.05, "seed": 0}
FAST_EPOCHS, FAST_QUESTIONS = 2, 3
SELLER = ("Larkspoke Lights", "larkspoke")
BUYER = ("Fern & Fable Books", "fern-and-fable")
ADAPTER, SEARCH = "shop-support", "bicycle support"
TITLE = "Support for a maker of bicycle lights"
DESCRIPTION = (
    "Answers a lamp shop's customers: delivery, returns, opening hours, warranty. Trained on its own support chats."
)
KEYS_FILE = "demo.json"
EMBEDDED = {
    "port": 0,
    "public_url": None,
    "database_url": None,
    "database_app_url": None,
    "database_dispatcher_url": None,
    "redis_url": None,
    "storage_url": None,
    "stripe_secret_key": None,
    "root_key": None,
    "root_key_file": None,
    "installation_secret": None,
    "node_token": None,
}
"""Whatever the settings name: the demo never touches services that hold anything of value."""


def run_demo(settings: Settings, *, fast: bool) -> int:
    """Play the whole path in a folder that is removed afterwards; the exit status."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="tunery-demo-") as folder:
        chosen = settings.model_copy(update=EMBEDDED)
        with _progress(console) as progress:
            starting = progress.add_task("starting the services", total=None)
            _quieten_libraries()
            with Up(chosen, data_dir=Path(folder) / "data", report=lambda line: _tell(progress, starting, line)) as up:
                progress.update(starting, description="services started", total=1, completed=1)
                figures, _parties, questions = _play(up.base_url, Path(folder), progress, fast=fast)
    found = checks(figures, questions, fast=fast)
    print_report(console, figures, questions, found)
    failed = [check for check in found if not check.holds]
    for check in failed:
        console.print(f"[red]does not hold:[/] {check.what} ({check.figures})")
    return 1 if failed else 0


def run_and_stay(settings: Settings, data_dir: Path) -> int:
    """Start everything in `data_dir`, play the demo there once, print ready-made commands, run until stopped."""
    if settings.stripe_secret_key is not None:
        raise CannotStart("the demo pays by itself, which only the embedded sandbox lets it: unset TUNERY_STRIPE_*")
    console = Console()

    def play_once(up: Up) -> None:
        keys = data_dir / KEYS_FILE
        if not keys.exists():
            with _progress(console) as progress, tempfile.TemporaryDirectory() as folder:
                figures, parties, _questions = _play(up.base_url, Path(folder), progress, fast=False)
            kept = {
                "seller": parties["seller"].client.api_key,
                "buyer": parties["buyer"].client.api_key,
                "repository": f"{SELLER[1]}/{figures.listing['name']}",
            }
            descriptor = os.open(keys, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(kept, file)
        print_commands(console, up.base_url, json.loads(keys.read_text()))

    return run_up(settings, data_dir, once_started=play_once)


def _play(
    base_url: str, folder: Path, progress: Progress, *, fast: bool
) -> tuple[Figures, dict[str, Party], list[Question]]:
    figures, questions = Figures(), load_questions()
    spec = SPEC | ({"epochs": FAST_EPOCHS} if fast else {})
    questions = questions[:FAST_QUESTIONS] if fast else questions
    with ExitStack() as clients:
        seller, buyer = (play.sign_up(base_url, name, slug) for name, slug in (SELLER, BUYER))
        for party in (seller, buyer):
            clients.callback(party.client.close)
        _train(figures, seller, spec, progress)
        _sell(figures, seller, buyer, folder, progress)
        _serve(figures, seller, buyer, questions, progress)
        _step(progress, "remembering a customer, erasing them", lambda: play.remember_customer(figures, buyer))
        repository = f"{seller.slug}/{figures.listing['name']}"
        files = _step(
            progress,
            "downloading with huggingface_hub",
            lambda: play.download(buyer, repository, figures.version["revision"], folder / "buyer"),
        )
        figures.signature_problem = play.signature_problem(buyer, files, figures.version["digest"])
        answer = figures.answers["adapter"][0]
        figures.reloaded_by_peft = _step(
            progress,
            "loading with peft",
            lambda: play.reloads_with_peft(files, BUNDLED_FOLDER / "tiny", questions[0], answer),
        )
        figures.sales = play.sales(seller)
        figures.accounts = {"seller": play.account(seller), "buyer": play.account(buyer)}
    return figures, {"seller": seller, "buyer": buyer}, questions


def _train(figures: Figures, seller: Party, spec: dict[str, Any], progress: Progress) -> None:
    data_set = example_folder() / "support.jsonl"
    file_id = _step(progress, "uploading the data set", lambda: play.upload(seller, data_set))
    figures.quote = _step(progress, "counting tokens, quoting", lambda: play.quote(seller, file_id, spec))
    task = progress.add_task("training (QLoRA)", total=None)

    def on_event(event: dict[str, Any]) -> None:
        data = event["data"]
        if event["kind"] == "metrics":
            description = f"training (QLoRA), loss {data['loss']:.3f}" if "loss" in data else "training (QLoRA)"
            progress.update(task, total=data["total_steps"], completed=data["step"], description=description)

    began = time.monotonic()
    figures.job, figures.version = play.train(seller, figures.quote["id"], ADAPTER, on_event)
    figures.training_seconds = time.monotonic() - began
    progress.update(task, total=1, completed=1)


def _sell(figures: Figures, seller: Party, buyer: Party, folder: Path, progress: Progress) -> None:
    version = figures.version["id"]
    figures.listing = _step(progress, "publishing", lambda: play.publish(seller, version, TITLE, DESCRIPTION))
    listing_id = play.find_listing(buyer, SEARCH)
    repository = f"{seller.slug}/{figures.listing['name']}"
    figures.refused_without_purchase = play.is_refused(buyer, repository, folder / "stranger")
    figures.purchase = _step(
        progress, "buying through Stripe Checkout", lambda: play.buy(buyer, listing_id, play.press_pay)
    )


def _serve(figures: Figures, seller: Party, buyer: Party, questions: list[Question], progress: Progress) -> None:
    listing_id = figures.listing["id"]
    bought = play.deploy(buyer, "support", listingId=listing_id)
    base = play.deploy(seller, "base", baseModel=play.BASE_MODEL)
    for side, party, model, name in (("seller", seller, base, "base"), ("buyer", buyer, bought, "adapter")):
        task = progress.add_task(f"asking the {name}", total=len(questions))
        figures.answers[name], figures.chat_tokens[side] = play.ask(
            party,
            model,
            questions,
            lambda task=task: progress.advance(task),  # type: ignore[misc]
        )


def _step(progress: Progress, description: str, work: Callable[[], Any]) -> Any:
    task = progress.add_task(description, total=None)
    result = work()
    progress.update(task, total=1, completed=1)
    return result


def _quieten_libraries() -> None:
    """Their progress bars and notices would tear ours apart."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _tell(progress: Progress, task: Any, line: str) -> None:
    if not progress.finished:
        progress.update(task, description=f"starting: {line}")


def _progress(console: Console) -> Progress:
    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)
