"""A lamp shop that trains and sells, and a bookshop that buys: the demo's path, step by step, with what is seen on the
way.
"""

import secrets
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.e2e.installation import Installation, Tenant
from tunery.app.demo import play
from tunery.app.demo.example import Question, example_folder, load_questions
from tunery.app.demo.play import Figures
from tunery.app.demo.run import ADAPTER, DESCRIPTION, FAST_EPOCHS, FAST_QUESTIONS, SPEC, TITLE
from tunery.training.catalogue import BUNDLED_FOLDER

BASE_FOLDER = BUNDLED_FOLDER / "tiny"
ADAPTER_MODEL, BASE_DEPLOYMENT = "support", "base"
CHECKOUT = {"successUrl": "https://buyer.example/thanks", "cancelUrl": "https://buyer.example/cart"}


@dataclass
class Played:
    """The whole path, played once; `figures` are compared by the demo's own report."""

    seller: Tenant
    buyer: Tenant
    data_set_id: str
    questions: list[Question]
    figures: Figures = field(default_factory=Figures)
    events: list[dict[str, Any]] = field(default_factory=list)
    files: Path = Path()

    @property
    def repository(self) -> str:
        return f"{self.seller.party.slug}/{self.figures.listing['name']}"

    @property
    def listing_id(self) -> str:
        return str(self.figures.listing["id"])


def play_whole_path(installation: Installation, folder: Path) -> Played:
    seller, buyer = installation.sign_up("Larkspoke Lamps"), installation.sign_up("Fern and Fable")
    data_set_id = play.upload(seller.party, example_folder() / "support.jsonl")
    played = Played(seller, buyer, data_set_id, load_questions()[:FAST_QUESTIONS])
    figures = played.figures
    figures.quote = play.quote(seller.party, data_set_id, SPEC | {"epochs": FAST_EPOCHS})
    figures.job, figures.version = play.train(seller.party, figures.quote["id"], ADAPTER, played.events.append)
    figures.listing = play.publish(seller.party, figures.version["id"], TITLE, DESCRIPTION)
    figures.refused_without_purchase = play.is_refused(buyer.party, played.repository, folder / "stranger")
    listing_id = play.find_listing(buyer.party, "lamp support")
    figures.purchase = play.buy(buyer.party, listing_id, play.press_pay)
    play.deploy(buyer.party, ADAPTER_MODEL, listingId=listing_id)
    play.deploy(seller.party, BASE_DEPLOYMENT, baseModel=play.BASE_MODEL)
    for side, tenant, model, name in (
        ("seller", seller, BASE_DEPLOYMENT, "base"),
        ("buyer", buyer, ADAPTER_MODEL, "adapter"),
    ):
        figures.answers[name], figures.chat_tokens[side] = play.ask(tenant.party, model, played.questions, lambda: None)
    play.remember_customer(figures, buyer.party)
    played.files = play.download(buyer.party, played.repository, figures.version["revision"], folder / "buyer")
    figures.signature_problem = play.signature_problem(buyer.party, played.files, figures.version["digest"])
    figures.reloaded_by_peft = play.reloads_with_peft(
        played.files, BASE_FOLDER, played.questions[0], figures.answers["adapter"][0]
    )
    figures.sales = play.sales(seller.party)
    figures.accounts = {"seller": play.account(seller.party), "buyer": play.account(buyer.party)}
    return played


def upload_rows(tenant: Tenant, rows: int) -> str:
    """The first rows of the example; the file's id."""
    lines = (example_folder() / "support.jsonl").read_bytes().splitlines(keepends=True)[:rows]
    files = {"file": ("rows.jsonl", b"".join(lines))}
    return str(tenant.caller.http.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"])


def quote(tenant: Tenant, *, rows: int = 10, **spec: Any) -> dict[str, Any]:
    data_set_id = upload_rows(tenant, rows)
    return play.quote(tenant.party, data_set_id, {"rank": 4, "learningRate": 4e-3, "batchRows": 8, "seed": 0, **spec})


def start_job(tenant: Tenant, quoted: dict[str, Any], adapter: str = "shop-support") -> str:
    """The job's id."""
    payload = tenant.caller.mutate(
        "createTrainingJob",
        "trainingJob { id }",
        quoteId=quoted["id"],
        adapterName=adapter,
        idempotencyKey=f"job-{quoted['id']}",
    )
    assert payload["userErrors"] == []
    return str(payload["trainingJob"]["id"])


def order(buyer: Tenant, listing_id: str) -> dict[str, Any]:
    """An order and its checkout page, unpaid."""
    payload = buyer.caller.mutate(
        "purchaseListing",
        "purchase { id status checkoutUrl }",
        listingId=listing_id,
        idempotencyKey=secrets.token_hex(8),
        **CHECKOUT,
    )
    assert payload["userErrors"] == []
    return dict(payload["purchase"])


def purchase_status(buyer: Tenant, purchase_id: str) -> str:
    found = buyer.caller.data("query($id: ID!) { purchase(id: $id) { status } }", id=purchase_id)
    return str(found["purchase"]["status"])


def assert_paid_for_once(installation: Installation, tenant: Tenant, quoted: dict[str, Any], job_id: str) -> None:
    """Tokens quoted = trained = settled, credit spent = the quote's price, nothing held; in the ledger as well."""
    job = tenant.caller.data(
        "query($id: ID!) { trainingJob(id: $id) { status trainedTokens adapterVersion { manifest } } }", id=job_id
    )["trainingJob"]
    assert job["status"] == "succeeded"
    account = play.account(tenant.party)
    assert quoted["trainedTokens"] == job["trainedTokens"] == account["usage"]["trained_tokens"]
    assert job["adapterVersion"]["manifest"]["trained_tokens"] == quoted["trainedTokens"]
    assert account["granted"] - account["balance"] == account["used"] == account["subtotal"] == Decimal(quoted["price"])
    assert account["reserved"] == 0
    figures = installation.rows(
        "SELECT (SELECT count(*) FROM checkpoints WHERE tenant_id = $1) AS checkpoints,"
        " (SELECT count(DISTINCT sequence) FROM usage_events WHERE tenant_id = $1) AS settled,"
        " (SELECT count(*) FROM usage_events WHERE tenant_id = $1) AS usage_events,"
        " (SELECT count(*) FROM ledger_entries WHERE tenant_id = $1 AND kind = 'usage') AS debits,"
        " (SELECT -sum(amount) FROM ledger_entries WHERE tenant_id = $1 AND kind = 'usage') AS debited,"
        " (SELECT count(*) FROM adapter_versions WHERE tenant_id = $1) AS versions",
        tenant.id,
    )[0]
    assert figures["checkpoints"] == figures["settled"] == figures["usage_events"] == figures["debits"]
    assert figures["debited"] == Decimal(quoted["price"])
    assert figures["versions"] == 1
