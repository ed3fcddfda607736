"""The one GraphQL schema, joined from the rooms' types."""

from decimal import Decimal

import strawberry
from graphql import GraphQLError
from strawberry.extensions import MaxAliasesLimiter, MaxTokensLimiter, QueryDepthLimiter
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types
from strawberry.types import ExecutionContext

from tunery.billing.api import BillingQuery
from tunery.graphql.scalars import BIG_INT, DECIMAL, BigInt
from tunery.marketplace.api import MarketplaceMutation, MarketplaceQuery
from tunery.serving.api import ServingMutation, ServingQuery
from tunery.tenants.api import TenantsMutation, TenantsQuery
from tunery.training.api import TrainingMutation, TrainingQuery, TrainingSubscription
from tunery.vault.api import VaultQuery

MOST_TOKENS = 2_000
DEEPEST = 12
MOST_ALIASES = 30

Query = merge_types("Query", (TenantsQuery, VaultQuery, BillingQuery, TrainingQuery, MarketplaceQuery, ServingQuery))
Mutation = merge_types("Mutation", (TenantsMutation, TrainingMutation, MarketplaceMutation, ServingMutation))
Subscription = merge_types("Subscription", (TrainingSubscription,))


class Schema(strawberry.Schema):
    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Strawberry would log every refused request; `public_error` logs what is a fault."""


schema = Schema(
    Query,
    Mutation,
    Subscription,
    extensions=[
        lambda: MaxTokensLimiter(max_token_count=MOST_TOKENS),
        lambda: QueryDepthLimiter(max_depth=DEEPEST),
        lambda: MaxAliasesLimiter(max_alias_count=MOST_ALIASES),
    ],
    config=StrawberryConfig(disable_field_suggestions=True, scalar_map={BigInt: BIG_INT, Decimal: DECIMAL}),
)
