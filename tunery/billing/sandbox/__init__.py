"""A stateful stand-in for Stripe that the unmodified `stripe` SDK talks to.

Owns: a server with Stripe's wire protocol (form encoding, errors, idempotency, pagination, expansion), simulated
resources in one SQLite file, a hosted Checkout page, signed webhooks, and faults on demand. Does not own: anything of
Tunery. It is a server of its own and imports no other room; `docs/stripe-sandbox.md` says how to use it.
"""

from tunery.billing.sandbox.server import create_sandbox
from tunery.billing.sandbox.settings import SandboxSettings

__all__ = ["SandboxSettings", "create_sandbox"]
