"""The hosted Checkout page, `/c/pay/{session}`: for people, and for programs that post the same form.

POST /c/pay/{session}   outcome=pay|decline [card=4242424242424242] [email=...]

303  paid: `Location` is the success_url        404  no such session
402  declined: the page again, with the reason  409  paid before
400  the form is wrong                          410  expired
"""

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tunery.billing.sandbox.api import public_base_url, read_form
from tunery.billing.sandbox.cards import DECLINING_CARD, SUCCEEDING_CARD, card_of_number
from tunery.billing.sandbox.currencies import format_amount
from tunery.billing.sandbox.engine import Engine
from tunery.billing.sandbox.errors import CardDeclined, Document, InvalidRequest, ResourceMissing, StripeFault
from tunery.billing.sandbox.parameters import Kind, String, parse_parameters
from tunery.billing.sandbox.resources.checkout_payment import pay_session
from tunery.billing.sandbox.unit_of_work import Origin, UnitOfWork

_FORM: dict[str, Kind] = {
    "outcome": String(required=True, choices=("pay", "decline")),
    "card": String(max_length=30),
    "email": String(max_length=512),
}
_DEFAULT_EMAIL = "buyer@example.com"
_CLOSED_STATUS = {"complete": 409, "expired": 410}
# The page runs no script and loads nothing. It says nothing of form-action: browsers would apply it to the redirect.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a;
  background: #fff; }
table { width: 100%; border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .4rem 0; border-bottom: 1px solid #ccc; }
td:last-child, th:last-child { text-align: right; }
label, input { display: block; width: 100%; box-sizing: border-box; font: inherit; }
input { padding: .5rem; margin-bottom: 1rem; border: 1px solid #666; border-radius: .3rem; }
button { font: inherit; padding: .6rem 1.4rem; margin-right: .5rem; border: 1px solid #1f3fae; border-radius: .3rem;
  background: #1f3fae; color: #fff; cursor: pointer; }
button.decline { background: #fff; color: #1f3fae; }
:focus-visible { outline: 3px solid #e08a00; outline-offset: 2px; }
[role=alert] { border-left: .3rem solid #b00020; padding: .5rem 1rem; background: #fdecee; }
.note { color: #555; }
"""


class HostedCheckout:
    """The page's two requests. Nobody signs in: whoever has the session's unguessable id may pay, as at Stripe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[BaseRoute]:
        path = "/c/pay/{session}"
        return [Route(path, self.show, methods=["GET"]), Route(path, self.submit, methods=["POST"])]

    async def show(self, request: Request) -> Response:
        with self._engine.begin(Origin(public_base_url(self._engine, request))) as uow:
            try:
                session = uow.get("checkout.session", request.path_params["session"])
            except ResourceMissing:
                return _message_page("This checkout session does not exist.", 404)
            return _session_page(uow, session)

    async def submit(self, request: Request) -> Response:
        with self._engine.begin(Origin(public_base_url(self._engine, request))) as uow:
            known = uow.store.read(uow.account, "checkout.session", request.path_params["session"])
        if known is None:
            return _message_page("This checkout session does not exist.", 404)
        try:
            form = parse_parameters(_FORM, await read_form(request))
            default = SUCCEEDING_CARD if form["outcome"] == "pay" else DECLINING_CARD
            card = card_of_number(form.get("card") or default)
            if form["outcome"] == "decline" and card.decline is None:
                # The Decline button stands beside a form that holds the succeeding card.
                card = card_of_number(default)
        except StripeFault as fault:
            with self._engine.begin(Origin(public_base_url(self._engine, request))) as uow:
                return _session_page(uow, known.document, fault.message, 400)
        with self._engine.begin(Origin(public_base_url(self._engine, request))) as uow:
            session = uow.get("checkout.session", known.id)
            try:
                with uow.store.savepoint():
                    declined: CardDeclined | None = None
                    try:
                        session = pay_session(uow, session, card, form.get("email") or _DEFAULT_EMAIL)
                    except CardDeclined as refusal:
                        declined = refusal
            except InvalidRequest as refused:
                current = uow.get("checkout.session", known.id)
                return _session_page(uow, current, refused.message, _CLOSED_STATUS.get(current["status"], 400))
            if declined is not None:
                return _session_page(uow, session, declined.message, 402)
        return RedirectResponse(_success_url(session), 303, _HEADERS)


def _success_url(session: Document) -> str:
    url: str = session["success_url"]
    return url.replace("{CHECKOUT_SESSION_ID}", session["id"])


def _session_page(uow: UnitOfWork, session: Document, alert: str | None = None, status: int = 200) -> Response:
    if session["status"] == "complete":
        message = alert or "This checkout session has already been paid."
        return _message_page(message, status, link=("Go on", _success_url(session)))
    if session["status"] == "expired":
        return _message_page(alert or "This checkout session has expired.", _CLOSED_STATUS["expired"])
    items = uow.find("item", parent=session["id"], oldest_first=True)
    rows = "".join(
        f"<tr><td>{escape(item['description'])}</td><td>{item['quantity']}</td>"
        f"<td>{format_amount(item['amount_total'], item['currency'])}</td></tr>"
        for item in items
    )
    total = format_amount(session["amount_total"], session["currency"])
    email = (session["customer_details"] or {}).get("email")
    email_field = (
        f"<p>Paying as {escape(email)}</p>"
        if email
        else f'<label for="email">E-mail</label><input id="email" name="email" type="email" autocomplete="email" '
        f'value="{_DEFAULT_EMAIL}">'
    )
    cancel = session["cancel_url"]
    back = f'<p><a href="{escape(cancel)}">Cancel and go back</a></p>' if cancel else ""
    return _page(
        f"Pay {total}",
        f"""{f'<p role="alert">{escape(alert)}</p>' if alert else ""}
<table><caption class="note">Your order</caption>
<thead><tr><th scope="col">Item</th><th scope="col">Quantity</th><th scope="col">Amount</th></tr></thead>
<tbody>{rows}</tbody>
<tfoot><tr><th scope="row" colspan="2">Total</th><td><strong>{total}</strong></td></tr></tfoot></table>
<form method="post">
{email_field}
<label for="card">Test card number</label>
<input id="card" name="card" inputmode="numeric" autocomplete="off" value="{SUCCEEDING_CARD}">
<button name="outcome" value="pay">Pay {total}</button>
<button name="outcome" value="decline" class="decline">Decline</button>
</form>
{back}""",
        status,
    )


def _message_page(message: str, status: int, link: tuple[str, str] | None = None) -> Response:
    onward = f'<p><a href="{escape(link[1])}">{escape(link[0])}</a></p>' if link else ""
    return _page("Checkout", f'<p role="alert">{escape(message)}</p>{onward}', status)


def _page(title: str, body: str, status: int) -> Response:
    return HTMLResponse(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head>
<body><main><h1>{escape(title)}</h1>
<p class="note">Stripe sandbox: no money moves.</p>
{body}
</main></body></html>
""",
        status,
        _HEADERS,
    )
