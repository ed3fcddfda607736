"""The steps of the demo, each through the client that a user would take for it."""

import base64
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from tunery.app.demo.api_client import ApiClient, RefusedError
from tunery.app.demo.example import Question
from tunery.core.errors import DomainError
from tunery.training.adapter_files import verify_files
from tunery.training.adapter_manifest import MANIFEST_NAME, SIGNATURE_CONTEXT, SIGNATURE_NAME, digest, parse_manifest
from tunery.vault.erasures import FORMAT as ERASURE
from tunery.vault.signatures import verify

BASE_MODEL = "tunery/tiny"
PRICE = 1900
PAYMENT_SECONDS = 30
LONGEST_ANSWER = 64
CUSTOMER = "customer 4711"
CUSTOMER_SAID = "I collect lamps made of green glass."
CUSTOMER_ASKS = "Which lamps would I like?"


@dataclass
class Party:
    """One of the two organisations."""

    name: str
    slug: str
    client: ApiClient


@dataclass
class Figures:
    """What the demo measured; `report` compares and prints it."""

    quote: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    version: dict[str, Any] = field(default_factory=dict)
    listing: dict[str, Any] = field(default_factory=dict)
    purchase: dict[str, Any] = field(default_factory=dict)
    training_seconds: float = 0
    signature_problem: str | None = None
    refused_without_purchase: bool = False
    reloaded_by_peft: bool = False
    answers: dict[str, list[str]] = field(default_factory=dict)
    chat_tokens: dict[str, dict[str, int]] = field(default_factory=dict)
    remembered: list[int] = field(default_factory=list)
    erasure_problem: str | None = None
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    sales: list[dict[str, Any]] = field(default_factory=list)


def sign_up(base_url: str, organisation: str, slug: str) -> Party:
    anonymous = ApiClient(base_url)
    payload = anonymous.mutate("signUp", "secret", organisation=organisation, email=f"owner@{slug}.example", slug=slug)
    anonymous.close()
    return Party(organisation, slug, ApiClient(base_url, payload["secret"]))


def upload(party: Party, data_set: Path) -> str:
    """With the `openai` client; the file's id."""
    with _openai(party) as client, data_set.open("rb") as file:
        return str(client.files.create(file=file, purpose="fine-tune").id)


def quote(party: Party, data_set_id: str, spec: dict[str, Any]) -> dict[str, Any]:
    selection = "quote { id trainRows heldOutRows trainedTokens trainableTokens price unitPrice expiresAt }"
    payload = party.client.mutate("quoteTraining", selection, dataSetId=data_set_id, baseModel=BASE_MODEL, spec=spec)
    return dict(payload["quote"])


def train(
    party: Party, quote_id: str, adapter_name: str, on_event: Callable[[dict[str, Any]], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Start the job and follow it by SSE; the job and its adapter version. Raises RefusedError when it fails."""
    started = party.client.mutate(
        "createTrainingJob",
        "trainingJob { id }",
        quoteId=quote_id,
        adapterName=adapter_name,
        idempotencyKey=f"demo-{quote_id}",
    )
    job_id = started["trainingJob"]["id"]
    events = party.client.subscribe(
        "subscription($id: ID!) { trainingJobEvents(id: $id) { sequence kind data } }", id=job_id
    )
    for event in events:
        on_event(event["trainingJobEvents"])
    job = party.client.query(
        "query($id: ID!) { trainingJob(id: $id) { id status trainedTokens errorMessage"
        " adapterVersion { id number digest revision manifest } } }",
        id=job_id,
    )["trainingJob"]
    if job["status"] != "succeeded":
        raise RefusedError(f"the training job has {job['status']}: {job['errorMessage']}")
    return job, job["adapterVersion"]


def publish(seller: Party, version_id: str, title: str, description: str) -> dict[str, Any]:
    payload = seller.client.mutate(
        "publishListing",
        "listing { id name title price currency }",
        adapterVersionId=version_id,
        title=title,
        description=description,
        licence="apache-2.0",
        price=PRICE,
    )
    return dict(payload["listing"])


def find_listing(buyer: Party, text: str) -> str:
    """By search; the listing's id. Raises RefusedError when it isn't found."""
    page = buyer.client.query("query($text: String!) { listings(text: $text) { nodes { id } } }", text=text)
    found = page["listings"]["nodes"]
    if not found:
        raise RefusedError(f"no listing is found for {text!r}")
    return str(found[0]["id"])


def buy(buyer: Party, listing_id: str, pay: Callable[[str], None]) -> dict[str, Any]:
    """Order, pay at the checkout page, wait for the webhook to grant the entitlement."""
    ordered = buyer.client.mutate(
        "purchaseListing",
        "purchase { id checkoutUrl }",
        listingId=listing_id,
        successUrl="https://buyer.example/thanks",
        cancelUrl="https://buyer.example/cart",
        idempotencyKey=f"demo-{listing_id}",
    )["purchase"]
    pay(ordered["checkoutUrl"])
    deadline = time.monotonic() + PAYMENT_SECONDS
    while time.monotonic() < deadline:
        found = buyer.client.query("query($id: ID!) { purchase(id: $id) { id status price } }", id=ordered["id"])
        if found["purchase"]["status"] == "paid":
            return dict(found["purchase"])
        time.sleep(0.1)
    raise RefusedError("the payment was not confirmed in time")


def press_pay(checkout_url: str) -> None:
    """Press Pay on the sandbox's checkout page with its test card."""
    answer = httpx.post(checkout_url, data={"outcome": "pay", "card": "4242424242424242"})
    if not answer.is_redirect:
        raise RefusedError(f"the checkout page answered {answer.status_code}")


def deploy(party: Party, name: str, **source: str | bool) -> str:
    payload = party.client.mutate("createDeployment", "deployment { name }", name=name, **source)
    return str(payload["deployment"]["name"])


def ask(
    party: Party, model: str, questions: Sequence[Question], on_answer: Callable[[], None]
) -> tuple[list[str], dict[str, int]]:
    """Stream an answer to each question with the `openai` client; the answers, and the tokens that it was told of."""
    answers, tokens = [], {"input_tokens": 0, "output_tokens": 0}
    with _openai(party) as client:
        for question in questions:
            chunks = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": question.text}],
                max_tokens=LONGEST_ANSWER,
                temperature=0,
                stream=True,
                stream_options={"include_usage": True},
            )
            text = ""
            for chunk in chunks:
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
                if chunk.usage is not None:
                    tokens["input_tokens"] += chunk.usage.prompt_tokens
                    tokens["output_tokens"] += chunk.usage.completion_tokens
            answers.append(text)
            on_answer()
    return answers, tokens


def chat_with_memory(party: Party, model: str, said: str) -> tuple[int, dict[str, int]]:
    """One chat by the demo's customer: how many memories the answer was given, and the tokens that it cost."""
    with _openai(party) as client:
        answer = client.chat.completions.create(
            model=model,
            user=CUSTOMER,
            messages=[{"role": "user", "content": said}],
            max_tokens=LONGEST_ANSWER,
            temperature=0,
        )
    tokens = {"input_tokens": answer.usage.prompt_tokens, "output_tokens": answer.usage.completion_tokens}
    return len(answer.memory["used"]), tokens


def erase_customer(party: Party) -> str | None:
    """Erase the demo's customer; what keeps the certificate from being one. None: it says so, and is signed."""
    erased = party.client.mutate("eraseSubject", "erasure { certificate signature }", subject=CUSTOMER)["erasure"]
    key = party.client.query("{ signingKeys { publicKey } }")["signingKeys"][0]["publicKey"]
    try:
        verify(erased["certificate"].encode(), erased["signature"], base64.b64decode(key), ERASURE)
    except DomainError as error:
        return error.message
    certificate = json.loads(erased["certificate"])
    is_complete = len(certificate["destroyed"]) == 1 and certificate["deleted"]["memories"] > 0
    return None if is_complete else f"it certifies {certificate['destroyed']}, {certificate['deleted']}"


def remember_customer(figures: Figures, buyer: Party) -> None:
    """A customer tells something, it is known when they ask, and it is gone when they are erased."""
    concierge = deploy(buyer, "concierge", listingId=figures.listing["id"], memory=True)
    for said in (CUSTOMER_SAID, CUSTOMER_ASKS, None, CUSTOMER_ASKS):
        if said is None:
            figures.erasure_problem = erase_customer(buyer)
            continue
        used, tokens = chat_with_memory(buyer, concierge, said)
        figures.remembered.append(used)
        for meter, count in tokens.items():
            figures.chat_tokens["buyer"][meter] += count


def is_refused(stranger: Party, repository: str, folder: Path) -> bool:
    """Whether a download without a purchase ends with 403 and GatedRepo."""
    from huggingface_hub.errors import GatedRepoError

    try:
        download(stranger, repository, "main", folder)
    except GatedRepoError:
        return True
    return False


def download(party: Party, repository: str, revision: str, folder: Path) -> Path:
    """With `huggingface_hub`, pointed at this installation."""
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            repository,
            revision=revision,
            endpoint=f"{party.client.base_url}/hub",
            token=party.client.api_key,
            cache_dir=folder,
        )
    )


def signature_problem(party: Party, folder: Path, expected_digest: str) -> str | None:
    """What keeps the download from being what the installation signed; None: every byte is."""
    key = party.client.query("{ signingKeys { publicKey } }")["signingKeys"][0]["publicKey"]
    content = (folder / MANIFEST_NAME).read_bytes()
    signature = json.loads((folder / SIGNATURE_NAME).read_text())
    try:
        verify(content, signature, base64.b64decode(key), SIGNATURE_CONTEXT)
        verify_files(folder, parse_manifest(content))
    except DomainError as error:
        return error.message
    return None if digest(content) == expected_digest else "the manifest is another version's"


def reloads_with_peft(folder: Path, base_folder: Path, question: Question, expected: str) -> bool:
    """Whether plain transformers and peft load the download, and say what the deployment said."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_folder)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder).eval()
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question.text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        output = model.generate(**prompt, max_new_tokens=LONGEST_ANSWER, do_sample=False)
    text = tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    # The deployment runs on the base in 4 bits, this on the base as it is: the fact must be the same, not the wording.
    return bool(text.strip()) and question.is_right(text) == question.is_right(expected)


def account(party: Party) -> dict[str, Any]:
    """Balances, usage and invoice preview. Decimals as such."""
    data = party.client.query(
        "{ billingAccount { plan creditGranted credit { balance reserved } earnings { balance } }"
        " usage { meter quantity amount } invoicePreview { subtotal creditApplied amountDue"
        " lines { meter quantity amount } } }"
    )
    return {
        "plan": data["billingAccount"]["plan"],
        "granted": Decimal(data["billingAccount"]["creditGranted"]),
        "balance": Decimal(data["billingAccount"]["credit"]["balance"]),
        "reserved": Decimal(data["billingAccount"]["credit"]["reserved"]),
        "earnings": Decimal(data["billingAccount"]["earnings"]["balance"]),
        "usage": _by_meter(data["usage"]),
        "invoiced": _by_meter(data["invoicePreview"]["lines"]),
        "used": sum((Decimal(line["amount"]) for line in data["usage"]), Decimal(0)),
        "subtotal": Decimal(data["invoicePreview"]["subtotal"]),
        "applied": Decimal(data["invoicePreview"]["creditApplied"]),
        "due": data["invoicePreview"]["amountDue"],
    }


def sales(seller: Party) -> list[dict[str, Any]]:
    """What the seller sold; a task writes it right after the buyer's payment. Raises RefusedError."""
    deadline = time.monotonic() + PAYMENT_SECONDS
    while time.monotonic() < deadline:
        found: list[dict[str, Any]] = seller.client.query("{ sales { nodes { gross fee net } } }")["sales"]["nodes"]
        if found:
            return found
        time.sleep(0.1)
    raise RefusedError("the sale was not recorded in time")


def _by_meter(lines: list[dict[str, Any]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for line in lines:
        totals[line["meter"]] = totals.get(line["meter"], 0) + line["quantity"]
    return totals


def _openai(party: Party) -> Any:
    from openai import OpenAI

    return OpenAI(base_url=f"{party.client.base_url}/v1", api_key=party.client.api_key)
