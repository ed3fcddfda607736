"""The one GraphQL schema, joined from the rooms' types."""

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types
from strawberry.types import ExecutionContext

from tunery.billing.api import BillingQuery
from tunery.graphql.node import NodeQuery
from tunery.graphql.planner.resolve import use_planner
from tunery.graphql.scalars import SCALARS
from tunery.marketplace.api import MarketplaceMutation, MarketplaceQuery
from tunery.memory.api import MemoryMutation, MemoryQuery
from tunery.serving.api import ServingMutation, ServingQuery
from tunery.tenants.api import TenantsMutation, TenantsQuery
from tunery.training.api import TrainingMutation, TrainingQuery, TrainingSubscription
from tunery.vault.api import VaultMutation, VaultQuery

Query = merge_types(
    "Query",
    (NodeQuery, TenantsQuery, VaultQuery, BillingQuery, TrainingQuery, MarketplaceQuery, MemoryQuery, ServingQuery),
)
Mutation = merge_types(
    "Mutation", (TenantsMutation, VaultMutation, TrainingMutation, MarketplaceMutation, MemoryMutation, ServingMutation)
)
Subscription = merge_types("Subscription", (TrainingSubscription,))


class Schema(strawberry.Schema):
    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Strawberry would log every refused request; `public_error` logs what is a fault."""


schema = Schema(
    Query,
    Mutation,
    Subscription,
    config=StrawberryConfig(disable_field_suggestions=True, scalar_map=SCALARS),
)
core_schema = schema._schema  # noqa: SLF001 - Strawberry offers no other way to graphql-core's schema
use_planner(core_schema)
