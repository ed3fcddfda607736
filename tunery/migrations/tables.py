"""Every room's tables, imported so that the one metadata knows them all."""

import tunery.billing.models
import tunery.core.idempotency
import tunery.core.outbox
import tunery.marketplace.models
import tunery.memory.models
import tunery.serving.models
import tunery.tenants.models
import tunery.training.models
import tunery.vault.models  # noqa: F401
