"""The whole path through the clients that users have: `openai`, `huggingface_hub`, `peft`, `stripe`, GraphQL and SSE."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import openai
import pytest
import stripe
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

from tests.e2e.endpoints import ENDPOINTS, PUBLIC, is_unauthenticated, unknown_id
from tests.e2e.installation import Installation, Tenant, wait_for
from tests.e2e.shop import ADAPTER_MODEL, Played, order, purchase_status
from tunery.app.demo import play
from tunery.app.demo.report import checks
from tunery.app.embedded.stripe_sandbox import stripe_client

WEIGHTS = "adapter_model.safetensors"


def test_every_figure_of_the_path_agrees_with_its_fellows(played: Played) -> None:
    found = checks(played.figures, played.questions, fast=True)
    assert len(found) >= 14
    assert [(check.what, check.figures) for check in found if not check.holds] == []
    spent = played.figures.accounts["seller"]["invoiced"]["trained_tokens"]
    assert spent == played.figures.quote["trainedTokens"] > played.figures.quote["trainableTokens"] > 0
    assert all(played.figures.answers["adapter"])
    assert played.figures.signature_problem is None


def test_training_is_told_as_it_happens(played: Played) -> None:
    events = played.events
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    kinds = [event["kind"] for event in events]
    assert kinds[:2] == ["queued", "started"]
    assert kinds[-2:] == ["evaluated", "succeeded"]
    losses = [event["data"]["loss"] for event in events if event["kind"] == "metrics"]
    assert losses[-1] < losses[0]
    checkpoints = [event["data"] for event in events if event["kind"] == "checkpoint"]
    assert checkpoints[-1]["trained_tokens"] == played.figures.quote["trainedTokens"]
    assert [point["step"] for point in checkpoints] == sorted({point["step"] for point in checkpoints})


def test_the_openai_client_lists_streams_and_waits_and_each_token_is_billed_once(
    installation: Installation, played: Played
) -> None:
    before = play.account(played.buyer.party)
    with installation.openai(played.buyer.api_key) as client:
        models = list(client.models.list())
        seller = played.seller.party.slug
        assert [(model.id, model.owned_by) for model in models] == [(ADAPTER_MODEL, seller), ("concierge", seller)]
        assert client.models.retrieve(ADAPTER_MODEL).id == ADAPTER_MODEL
        question: dict[str, Any] = {
            "model": ADAPTER_MODEL,
            "messages": [{"role": "user", "content": played.questions[0].text}],
            "max_tokens": play.LONGEST_ANSWER,
            "temperature": 0,
        }
        whole = client.chat.completions.create(**question)
        chunks = list(client.chat.completions.create(**question, stream=True, stream_options={"include_usage": True}))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content == played.figures.answers["adapter"][0]
    assert len(chunks) > 3, "a stream comes in pieces"
    assert whole.usage is not None
    assert chunks[-1].usage == whole.usage
    after = play.account(played.buyer.party)
    told = {"input_tokens": 2 * whole.usage.prompt_tokens, "output_tokens": 2 * whole.usage.completion_tokens}
    assert {meter: after["usage"][meter] - before["usage"][meter] for meter in told} == told
    assert after["usage"] == after["invoiced"]
    assert before["balance"] - after["balance"] == after["used"] - before["used"] > 0
    assert after["reserved"] == 0


def test_the_hub_clients_get_files_for_whoever_bought_or_made_them(
    installation: Installation, played: Played, tmp_path: Path
) -> None:
    hub = {"endpoint": f"{installation.base_url}/hub"}
    stranger = installation.sign_up("Stranger")
    for download in (huggingface_hub.snapshot_download, huggingface_hub.hf_hub_download):
        arguments = [WEIGHTS] if download is huggingface_hub.hf_hub_download else []
        with pytest.raises(GatedRepoError):
            download(played.repository, *arguments, token=stranger.api_key, cache_dir=tmp_path / "stranger", **hub)
    names = {file.name for file in played.files.iterdir()}
    assert WEIGHTS in names
    assert [file for file in (tmp_path / "stranger").rglob("*") if file.name in names] == []

    weights = huggingface_hub.hf_hub_download(
        played.repository, WEIGHTS, token=played.buyer.api_key, cache_dir=tmp_path / "one", **hub
    )
    told = played.figures.version["manifest"]["files"][WEIGHTS]
    assert hashlib.sha256(Path(weights).read_bytes()).hexdigest() == told["sha256"]

    # The seller never bought it.
    own = play.download(played.seller.party, played.repository, "main", tmp_path / "seller")
    assert {file.name: file.read_bytes() for file in own.iterdir()} == {
        file.name: file.read_bytes() for file in played.files.iterdir()
    }


@pytest.fixture
def stripe_sdk(installation: Installation) -> Iterator[stripe.StripeClient]:
    settings = installation.up.settings
    assert settings.stripe_secret_key is not None
    with stripe_client(settings.stripe_secret_key.get_secret_value(), settings.stripe_api_base) as client:
        yield client


def session_of(installation: Installation, played: Played) -> str:
    bought = "SELECT checkout_session_id FROM purchases WHERE tenant_id = $1"
    return str(installation.value(bought, played.buyer.id))


def completion_of(client: stripe.StripeClient, session_id: str) -> stripe.Event:
    """The only event that says the session is complete."""
    events = client.v1.events.list({"type": "checkout.session.completed", "limit": 100}).auto_paging_iter()
    (event,) = [event for event in events if event.data.object["id"] == session_id]
    return event


def test_the_stripe_sdk_finds_the_checkout_paid(
    installation: Installation, played: Played, stripe_sdk: stripe.StripeClient
) -> None:
    session = stripe_sdk.v1.checkout.sessions.retrieve(session_of(installation, played))
    assert (session.status, session.payment_status, session.mode) == ("complete", "paid", "payment")
    assert (session.amount_total, session.currency) == (play.PRICE, "usd")
    buyer = played.buyer.caller.data("{ organisation { id } }")["organisation"]["id"]
    assert session.metadata is not None
    assert session.metadata.to_dict() == {"tenant_id": buyer, "purchase_id": played.figures.purchase["id"]}
    assert session.client_reference_id == played.figures.purchase["id"]
    assert isinstance(session.payment_intent, str)
    intent = stripe_sdk.v1.payment_intents.retrieve(session.payment_intent)
    assert (intent.status, intent.amount_received) == ("succeeded", play.PRICE)
    assert completion_of(stripe_sdk, session.id).data.object["payment_status"] == "paid"


def signature(payload: bytes, secret: str, at: float) -> dict[str, str]:
    """https://docs.stripe.com/webhooks#verify-manually."""
    signed = hmac.new(secret.encode(), f"{int(at)}.".encode() + payload, hashlib.sha256).hexdigest()
    return {"stripe-signature": f"t={int(at)},v1={signed}"}


def test_forged_and_repeated_webhooks_change_nothing(
    installation: Installation, played: Played, stripe_sdk: stripe.StripeClient
) -> None:
    real = completion_of(stripe_sdk, session_of(installation, played))
    payload = json.dumps(real.to_dict()).encode()
    other = json.dumps(real.to_dict() | {"id": f"evt_{secrets.token_hex(8)}"}).encode()
    assert installation.up.settings.stripe_webhook_secret is not None
    secret = installation.up.settings.stripe_webhook_secret.get_secret_value()
    url, now = f"{installation.base_url}/webhooks/stripe", time.time()

    def found() -> dict[str, Any]:
        return {
            "of both": installation.holdings(played.seller, played.buyer),
            "events": installation.rows("SELECT * FROM stripe_events ORDER BY id"),
            "outbox": installation.value("SELECT count(*) FROM outbox WHERE task LIKE 'billing.%'"),
        }

    before = found()
    forgeries: list[tuple[bytes, dict[str, str]]] = [
        (other, {}),
        (other, {"stripe-signature": "nonsense"}),
        (other, signature(other, "whsec_guess", now)),
        (other, signature(payload, secret, now)),
        (other, signature(other, secret, now - 3600)),
    ]
    for body, headers in forgeries:
        assert httpx.post(url, content=body, headers=headers, trust_env=False).status_code == httpx.codes.BAD_REQUEST
    assert found() == before

    def deliver(body: bytes) -> int:
        return httpx.post(url, content=body, headers=signature(body, secret, now), trust_env=False).status_code

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(deliver, [payload] * 8)) == {httpx.codes.OK}
    assert found() == before, "Stripe may say it as often as it likes"

    # Another event about the same session is applied, and finds everything done.
    assert deliver(other) == httpx.codes.OK
    handled = "SELECT handled_at IS NOT NULL FROM stripe_events WHERE id = $1"
    wait_for(lambda: installation.value(handled, json.loads(other)["id"]))
    assert found()["of both"] == before["of both"]
    one_each = (
        "SELECT (SELECT count(*) FROM entitlements WHERE purchase_id = p.id) AS entitlements,"
        " (SELECT count(*) FROM sales WHERE purchase_id = p.id) AS sales,"
        " (SELECT sum(amount) FROM ledger_entries WHERE source = 'purchase:' || p.id) AS earned"
        " FROM purchases p WHERE checkout_session_id = $1"
    )
    (counted,) = installation.rows(one_each, real.data.object["id"])
    net = Decimal(played.figures.sales[-1]["net"]) / 100
    assert counted == {"entitlements": 1, "sales": 1, "earned": net}


def test_a_second_order_of_an_unpaid_listing_is_the_first(installation: Installation, played: Played) -> None:
    buyer = installation.sign_up("Hesitant")
    first, second = (order(buyer, played.listing_id) for _ in range(2))
    assert first == second
    assert purchase_status(buyer, first["id"]) == "pending"
    assert_gated(installation, buyer, played)


def assert_gated(installation: Installation, tenant: Tenant, played: Played) -> None:
    checked = tenant.caller.http.get(f"/hub/api/models/{played.repository}/auth-check")
    assert (checked.status_code, checked.headers["x-error-code"]) == (403, "GatedRepo")


def test_a_revoked_key_is_refused_everywhere_and_at_once(installation: Installation, tmp_path: Path) -> None:
    tenant = installation.sign_up("Careful")
    made = tenant.caller.mutate("createApiKey", "apiKey { id } secret", name="leaked")
    leaked = installation.caller(made["secret"])

    def refused() -> list[str]:
        return [
            endpoint.name
            for endpoint in ENDPOINTS
            if is_unauthenticated(endpoint.send(leaked, unknown_id(endpoint.kind)))
        ]

    assert refused() == []
    before = installation.holdings(tenant)
    assert tenant.caller.mutate("revokeApiKey", "apiKey { revokedAt }", id=made["apiKey"]["id"])["apiKey"]["revokedAt"]
    assert refused() == [endpoint.name for endpoint in ENDPOINTS if endpoint.name not in PUBLIC]
    with installation.openai(made["secret"]) as client, pytest.raises(openai.AuthenticationError, match="revoked"):
        client.models.list()
    with pytest.raises(HfHubHTTPError) as refused:
        huggingface_hub.snapshot_download(
            "larkspoke/anything", endpoint=f"{installation.base_url}/hub", token=made["secret"], cache_dir=tmp_path
        )
    assert refused.value.response.status_code == httpx.codes.UNAUTHORIZED
    assert installation.holdings(tenant) == before
    assert tenant.caller.data("{ organisation { name } }")["organisation"]["name"] == "Careful", "the other key lives"
