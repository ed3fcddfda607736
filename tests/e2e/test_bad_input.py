"""What users get wrong, through the running installation: each is told what is wrong, and nothing else happens."""

import json
import re
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import huggingface_hub
import psutil
import pytest
from huggingface_hub.errors import GatedRepoError

from tests.e2e.endpoints import ENDPOINTS, GRAPHQL, PUBLIC, WITHOUT_KEY, Endpoint, is_unauthenticated, unknown_id
from tests.e2e.installation import Installation, Tenant
from tests.e2e.shop import Played, quote, upload_rows
from tunery.app.demo import play
from tunery.app.demo.run import DESCRIPTION, TITLE
from tunery.tenants.api_keys import generate_secret

MIB = 1024**2
GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
GOOD_LINE = json.dumps(GOOD).encode() + b"\n"


def line(*roles: str, content: str = "text") -> bytes:
    return json.dumps({"messages": [{"role": role, "content": content} for role in roles]}).encode() + b"\n"


@pytest.fixture(scope="module")
def tenant(installation: Installation) -> Tenant:
    return installation.sign_up("Clumsy")


@contextmanager
def nothing_changes(installation: Installation, *tenants: Tenant) -> Iterator[None]:
    """No row, no balance, no file: neither in the database nor, as far as the tenants are told, through the API."""

    def found() -> list[Any]:
        seen = [(play.account(tenant.party), tenant.caller.http.get("/v1/files").json()) for tenant in tenants]
        return [installation.holdings(*tenants), seen]

    before = found()
    yield
    assert found() == before


def upload(tenant: Tenant, content: bytes) -> tuple[int, dict[str, Any]]:
    files = {"file": ("rows.jsonl", content)}
    response = tenant.caller.http.post("/v1/files", data={"purpose": "fine-tune"}, files=files)
    return response.status_code, response.json()


@pytest.mark.parametrize(
    ("content", "errors"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b"\n \n\n", [], id="blank"),
        pytest.param(
            GOOD_LINE + b'{"messages": [\n' + GOOD_LINE + b"oops\n" + b"\xff\xfe\n",
            [(2, "malformed_json"), (4, "malformed_json"), (5, "malformed_json")],
            id="malformed",
        ),
        pytest.param(
            GOOD_LINE + line("user", "robot") + b'{"prompt": "Hi"}\n' + b"[]\n",
            [(2, "wrong_format"), (3, "wrong_format"), (4, "wrong_format")],
            id="wrong format",
        ),
        pytest.param(
            line("assistant", "user") + line("user", "user", "assistant") + line("user", "system", "assistant"),
            [(1, "wrong_order"), (2, "wrong_order"), (3, "wrong_order")],
            id="wrong order",
        ),
        pytest.param(
            GOOD_LINE * 11 + line("user", "system") + line("user") + line("user", "assistant", content=" "),
            [(12, "nothing_to_learn"), (13, "nothing_to_learn"), (14, "nothing_to_learn")],
            id="nothing to learn",
        ),
        pytest.param(b"oops\n" * 1250, [(number, "malformed_json") for number in range(1, 1001)], id="many"),
        # Larger than what is buffered before a part is written to storage.
        pytest.param(GOOD_LINE * (16 * MIB // len(GOOD_LINE)) + b"oops\n", None, id="late"),
    ],
)
def test_a_bad_data_set_is_refused_whole_with_its_lines(
    installation: Installation, tenant: Tenant, content: bytes, errors: list[tuple[int, str]] | None
) -> None:
    with nothing_changes(installation, tenant):
        status, body = upload(tenant, content)
    error = body["error"]
    assert (status, error["code"], error["param"]) == (400, "invalid_data_set", "file")
    if errors is None:
        errors = [(content.count(b"\n"), "malformed_json")]
    assert [(item["line"], item["code"]) for item in error["errors"]] == errors
    assert error["error_count"] == (1250 if len(errors) == 1000 else len(errors))
    assert not errors or error["message"].startswith(f"line {errors[0][0]}: ")


class PeakMemory(threading.Thread):
    """The largest resident set of a process while the block runs."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self.before = self.peak = self._process.memory_info().rss

    def run(self) -> None:
        while not self._done.wait(0.01):
            self.peak = max(self.peak, self._process.memory_info().rss)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self.join()


def test_a_line_of_200_mib_is_named_and_never_held_in_memory(installation: Installation, tenant: Tenant) -> None:
    boundary = secrets.token_hex(16)

    def body() -> Iterator[bytes]:
        yield f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="huge.jsonl"\r\n\r\n'.encode()
        yield GOOD_LINE
        yield b'{"messages": [{"role": "user", "content": "'
        for _ in range(200):
            yield b"a" * MIB
        yield b'"}]}\n' + GOOD_LINE + b"oops\n"
        yield f"\r\n--{boundary}--\r\n".encode()

    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    with nothing_changes(installation, tenant), PeakMemory(installation.up.pids["api"]) as memory:
        response = tenant.caller.http.post("/v1/files", content=body(), headers=headers)
    error = response.json()["error"]
    assert response.status_code == 400
    assert [(item["line"], item["code"]) for item in error["errors"]] == [(2, "line_too_long"), (4, "malformed_json")]
    assert "longer than the limit of 1,048,576 bytes" in error["message"]
    assert memory.peak - memory.before < 100 * MIB


def test_what_cannot_be_quoted_is_refused_by_field_and_code(installation: Installation, tenant: Tenant) -> None:
    data_set, few = upload_rows(tenant, 12), upload_rows(tenant, 9)

    def refusal(**given: Any) -> tuple[str | None, str]:
        request = {"dataSetId": data_set, "baseModel": play.BASE_MODEL, **given}
        return tenant.caller.refusal("quoteTraining", "quote { id }", **request)

    with nothing_changes(installation, tenant):
        assert refusal(baseModel="nobody/nothing") == ("baseModel", "NOT_FOUND")
        assert refusal(dataSetId=few) == ("dataSetId", "INVALID_INPUT")
        assert refusal(spec={"maxLength": 3}) == ("dataSetId", "NO_TRAINABLE_TOKENS")
        for wrong in ({"epochs": 0}, {"rank": 0}, {"rank": 257}, {"learningRate": -1.0}, {"scheduler": "random"}):
            assert refusal(spec=wrong)[1] == "INVALID_INPUT"
        refused = tenant.caller.refusal(
            "createDeployment", "deployment { id }", name="mine", baseModel="nobody/nothing"
        )
        assert refused == ("baseModel", "NOT_FOUND")


def test_a_job_beyond_the_credit_holds_nothing(installation: Installation, tenant: Tenant) -> None:
    quoted = quote(tenant, rows=60, epochs=10_000)
    assert Decimal(quoted["price"]) > play.account(tenant.party)["balance"]
    with nothing_changes(installation, tenant):
        refused = tenant.caller.refusal(
            "createTrainingJob",
            "trainingJob { id }",
            quoteId=quoted["id"],
            adapterName="too-dear",
            idempotencyKey=secrets.token_hex(8),
        )
        assert refused[1] == "INSUFFICIENT_FUNDS"
    assert play.account(tenant.party)["reserved"] == 0


def test_an_idempotency_key_starts_one_job_and_refuses_another_request(installation: Installation) -> None:
    tenant = installation.sign_up("Twice")
    quoted, other = quote(tenant), quote(tenant)

    def create(**changed: Any) -> dict[str, Any]:
        given = {"quoteId": quoted["id"], "adapterName": "shop", "idempotencyKey": "key", **changed}
        return tenant.caller.mutate("createTrainingJob", "trainingJob { id }", **given)

    # No node takes the job meanwhile, so that nothing moves but what these requests move.
    with installation.stopped("node"):
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: create(), range(8)))
        assert all(answer["userErrors"] == [] for answer in answers)
        (job_id,) = {answer["trainingJob"]["id"] for answer in answers}
        assert play.account(tenant.party)["reserved"] == Decimal(quoted["price"])
        with nothing_changes(installation, tenant):
            assert create()["trainingJob"]["id"] == job_id
            for changed in ({"quoteId": other["id"]}, {"adapterName": "other"}):
                payload = create(**changed)
                assert payload["trainingJob"] is None
                assert [(error["field"], error["code"]) for error in payload["userErrors"]] == [
                    ("idempotencyKey", "CONFLICT")
                ]
            # The quote is used up, whatever the key.
            (error,) = create(idempotencyKey="another")["userErrors"]
            assert (error["field"], error["code"]) == ("quoteId", "CONFLICT")
        cancelled = tenant.caller.mutate("cancelTrainingJob", "trainingJob { status }", id=job_id)
        assert cancelled["trainingJob"]["status"] == "cancelled"
        account = play.account(tenant.party)
        assert (account["reserved"], account["balance"]) == (0, account["granted"])


def test_without_an_entitlement_there_is_no_deployment_and_no_file(
    installation: Installation, played: Played, tenant: Tenant, tmp_path: Path
) -> None:
    with nothing_changes(installation, tenant, played.seller):
        refused = tenant.caller.refusal(
            "createDeployment", "deployment { id }", name="mine", listingId=played.listing_id
        )
        assert refused == ("listingId", "PURCHASE_REQUIRED")
        with pytest.raises(GatedRepoError):
            huggingface_hub.snapshot_download(
                played.repository, endpoint=f"{installation.base_url}/hub", token=tenant.api_key, cache_dir=tmp_path
            )
        own = played.seller.caller.refusal(
            "purchaseListing",
            "purchase { id }",
            listingId=played.listing_id,
            idempotencyKey="own",
            successUrl="https://x.example/",
            cancelUrl="https://x.example/",
        )
        assert own == ("listingId", "OWN_LISTING")


def test_the_endpoints_are_the_schemas_root_fields(tenant: Tenant) -> None:
    schema = tenant.caller.data(
        "{ __schema { queryType { name fields { name } } mutationType { name fields { name } }"
        " subscriptionType { name fields { name } } } }"
    )["__schema"]
    fields = {f"{root['name']}.{field['name']}" for root in schema.values() for field in root["fields"]}
    assert {endpoint.name.partition(" ")[0] for endpoint in GRAPHQL} == fields - WITHOUT_KEY


@pytest.mark.parametrize("key", [None, "tnr_nonsense", "unknown"])
def test_without_a_valid_key_all_but_the_public_endpoints_refuse_known_and_unknown_ids(
    installation: Installation, tenant: Tenant, played: Played, key: str | None
) -> None:
    nobody = installation.caller(generate_secret() if key == "unknown" else key)
    known = known_ids(played)
    with nothing_changes(installation, tenant, played.seller, played.buyer):
        for identify in (unknown_id, lambda kind: known.get(kind, "")):
            accepted = [
                endpoint.name
                for endpoint in ENDPOINTS
                if not is_unauthenticated(endpoint.send(nobody, identify(endpoint.kind)))
            ]
            assert set(accepted) == PUBLIC


def known_ids(played: Played) -> dict[str | None, str]:
    """Ids that exist, of the seller and the buyer."""
    seen = played.seller.caller.data("{ apiKeys { nodes { id } } adapters { nodes { id } } }")
    return {
        "API key": seen["apiKeys"]["nodes"][0]["id"],
        "adapter": seen["adapters"]["nodes"][0]["id"],
        "data set": played.data_set_id,
        "quote": played.figures.quote["id"],
        "training job": played.figures.job["id"],
        "adapter version": played.figures.version["id"],
        "listing": played.listing_id,
        "purchase": played.figures.purchase["id"],
        "deployment": "support",
        "repository": played.repository,
        **known_memory(played.seller),
    }


def known_memory(tenant: Tenant) -> dict[str | None, str]:
    """What the tenant remembers of somebody."""
    subject = "customer 12"
    model = play.deploy(tenant.party, f"knows-{secrets.token_hex(4)}", baseModel=play.BASE_MODEL, memory=True)
    message = {"role": "user", "content": "I like lamps of green glass."}
    body = {"model": model, "user": subject, "messages": [message], "max_tokens": 4}
    assert tenant.caller.http.post("/v1/chat/completions", json=body).json()["memory"]["remembered"]
    found = tenant.caller.data(
        "query($subject: String!) { memories(subject: $subject) { nodes { id } }"
        " conversations(subject: $subject) { nodes { id } } }",
        subject=subject,
    )
    memory, conversation = (found[kind]["nodes"][0]["id"] for kind in ("memories", "conversations"))
    return {"subject": subject, "memory": memory, "conversation": conversation}


@pytest.fixture
def withdrawn(played: Played) -> Iterator[None]:
    """The listing is off the market for a moment: published ones are everybody's to see."""
    played.seller.caller.mutate("withdrawListing", "listing { id }", id=played.listing_id)
    yield
    play.publish(played.seller.party, played.figures.version["id"], TITLE, DESCRIPTION)


@pytest.mark.usefixtures("withdrawn")
def test_what_is_anothers_looks_like_what_does_not_exist(installation: Installation, played: Played) -> None:
    """Status, headers and body are the same but for the id that was asked for."""
    known = known_ids(played)
    assert {endpoint.kind for endpoint in ENDPOINTS} - {None} <= known.keys()
    stranger = installation.sign_up("Nosy")
    with nothing_changes(installation, stranger, played.seller, played.buyer):
        for endpoint in ENDPOINTS:
            if endpoint.kind is not None:
                assert answer_for(endpoint, stranger, known[endpoint.kind]) == answer_for(
                    endpoint, stranger, unknown_id(endpoint.kind)
                ), endpoint.name
    # The ids were right: to their owners they are something.
    assert played.seller.caller.http.get(f"/v1/files/{played.data_set_id}").status_code == 200
    assert played.buyer.caller.http.get("/v1/models/support").status_code == 200


VARYING = {"x-request-id", "date", "content-length", "x-ratelimit-remaining", "x-ratelimit-reset"}
NOTHING = ('"node":null', '"nodes":[null]', '"data":[]', '"userErrors":[{')


def answer_for(endpoint: Endpoint, caller: Tenant, identifier: str) -> tuple[Any, ...]:
    """A refusal, or an empty page, without what differs from request to request."""
    response = endpoint.send(caller.caller, identifier)
    request_id = response.headers["x-request-id"]

    def anonymous(text: str) -> str:
        told = text.replace(identifier, "<id>").replace(request_id, "<request>")
        return re.sub(r'"remaining":\d+', "", told)

    headers = {name: anonymous(value) for name, value in response.headers.items() if name not in VARYING}
    body = response.text.replace(" ", "")
    not_found = '"errors":[' in body and '"code":"NOT_FOUND"' in body
    assert response.is_client_error or not_found or any(nothing in body for nothing in NOTHING), body
    return response.status_code, headers, anonymous(response.text)
