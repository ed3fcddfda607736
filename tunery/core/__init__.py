"""What every room stands on: unit of work and tenant context, outbox, idempotency, ids, money, clock, object storage,
domain errors, logs.

Owns the tables `outbox` and `idempotency_keys`. Knows no business rule.
"""
