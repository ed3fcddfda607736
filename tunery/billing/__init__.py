"""Money: plans, credit, reservations, the usage ledger, Stripe. `sandbox/` is our stand-in for Stripe itself.

Owns the tables `subscriptions`, `accounts`, `ledger_entries`, `reservations`, `usage_events` and `stripe_events`.
Knows amounts and meters, not what they are for.
"""
