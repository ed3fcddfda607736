"""Listings, purchases and sales in GraphQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import strawberry
from sqlalchemy import ColumnElement, func, literal_column
from strawberry.scalars import JSON

from tunery.core import ids
from tunery.graphql.access import PUBLIC
from tunery.graphql.connections import Connection
from tunery.graphql.context import Info
from tunery.graphql.errors import UserErrors, user_errors
from tunery.graphql.node import Node
from tunery.graphql.planner.declare import (
    CALLER,
    Conditions,
    Row,
    column,
    global_id,
    id_of,
    many,
    newest,
    newest_number,
    one,
    operation,
    planned,
    reference,
    root,
    text_up_to,
)
from tunery.marketplace import models
from tunery.marketplace.publish import publish_listing, withdraw_listing
from tunery.marketplace.purchase import purchase_listing

READ, BUY, SELL = "marketplace:read", "marketplace:buy", "marketplace:sell"
LONGEST_TEXT = 200
ENGLISH: ColumnElement[str] = literal_column("'english'::regconfig")


def last_published(listing: Row) -> Sequence[ColumnElement[object]]:
    return [listing.published_at.desc(), listing.id.desc()]


@planned(models.Seller, public=models.public_sellers, description="An organisation that sells.")
class Seller:
    namespace: str = column(description="On the hub: the first half of its repositories' names.")
    name: str = column(description="The organisation's name.")


@planned(
    models.ListingVersion, public=models.published_listing_versions, description="An adapter version as it is offered."
)
class ListingVersion:
    number: int = column(description="Rises by one with each version of the adapter.")
    digest: str = column(description="SHA-256 of the manifest, in hexadecimal.")
    revision: str = column(lambda v: func.left(v.digest, 40), description="On the hub: the digest's first 40 digits.")
    base_model: str = column(description="Name of the base model that it was trained on.")
    manifest: JSON = column(description="With the verified evaluation under `metrics`.")
    created_at: datetime = column(description="When it was offered.")


@planned(
    models.Listing,
    public=models.published_listings,
    access=READ,  # the organisation's withdrawn ones and those it bought are among them
    kind="listing",
    description="An adapter on the marketplace.",
)
class Listing(Node):
    id: strawberry.ID = global_id("listing")
    name: str = column(description="The adapter's name: with the seller's namespace, its repository on the hub.")
    base_model: str = column(description="Name of the base model that it was trained on.")
    title: str = column(description="One line, for people.")
    description: str = column(description="What the adapter is for.")
    licence: str = column(description="An SPDX identifier in lower case, or proprietary.")
    price: int = column(description="In minor units (cents).")
    currency: str = column(description="ISO 4217, in lower case.")
    status: str = column(description="published or withdrawn.")
    published_at: datetime = column(description="When it came on the market.")
    seller: Seller = one(lambda listing, seller: seller.tenant_id == listing.tenant_id, description="Who sells it.")
    versions: list[ListingVersion] = many(
        lambda listing, version: version.listing_id == listing.id, order=newest_number, description="The newest first."
    )
    latest_version: ListingVersion | None = one(
        lambda listing, version: version.listing_id == listing.id, order=newest_number, description="The newest."
    )


@planned(
    models.Purchase, access=READ, kind="purchase", description="An order of a listing. It is paid when Stripe says so."
)
class Purchase(Node):
    id: strawberry.ID = global_id("purchase")
    price: int = column(description="In minor units (cents).")
    currency: str = column(description="ISO 4217, in lower case.")
    licence: str = column(description="Of the listing, on the day of the order.")
    status: str = column(description="pending, paid or expired.")
    checkout_url: str | None = column(description="Where to pay.")
    created_at: datetime = column(description="When it was ordered.")
    paid_at: datetime | None = column(description="When Stripe reported the payment; null: it has not.")
    listing: Listing = one(lambda purchase, listing: listing.id == purchase.listing_id, description="What was ordered.")


@planned(models.Sale, description="What a purchase brought the seller. Amounts in minor units (cents).")
class Sale:
    gross: int = column(description="What the buyer paid.")
    fee: int = column(description="The platform's part.")
    net: int = column(description="The seller's part.")
    currency: str = column(description="ISO 4217, in lower case.")
    created_at: datetime = column(description="When the payment was reported.")
    listing: Listing = one(lambda sale, listing: listing.id == sale.listing_id, description="What was sold.")


@strawberry.input(description="An adapter version, and how it is offered.")
class PublishListingInput:
    adapter_version_id: strawberry.ID = strawberry.field(description="One of your own.")
    title: str = strawberry.field(description="One line of 3 to 120 characters.")
    description: str = strawberry.field(description="What the adapter is for, up to 10,000 characters.")
    licence: str = strawberry.field(description="apache-2.0, mit, cc-by-4.0, cc-by-nc-4.0, openrail or proprietary.")
    price: int = strawberry.field(description="In minor units (cents), 50 to 1,000,000.")
    currency: str = strawberry.field(default="usd", description="usd alone, so far.")


@strawberry.type(description="What came of publishListing.")
class PublishListingPayload(UserErrors):
    listing: Listing | None = strawberry.field(default=None, description="As it is offered now; null: see userErrors.")


@strawberry.input(description="Which listing to take off the market.")
class WithdrawListingInput:
    id: strawberry.ID = strawberry.field(description="Of a listing of your own.")


@strawberry.type(description="What came of withdrawListing.")
class WithdrawListingPayload(UserErrors):
    listing: Listing | None = strawberry.field(default=None, description="As it is now; null: see userErrors.")


@strawberry.input(description="What to order, and where to go after paying.")
class PurchaseListingInput:
    listing_id: strawberry.ID = strawberry.field(description="Of a published listing.")
    success_url: str = strawberry.field(description="Where Stripe sends the buyer after paying.")
    cancel_url: str = strawberry.field(description="Where Stripe sends a buyer who changed their mind.")
    idempotency_key: str = strawberry.field(description="Of your choice; the same key orders once.")


@strawberry.type(description="What came of purchaseListing.")
class PurchaseListingPayload(UserErrors):
    purchase: Purchase | None = strawberry.field(default=None, description="The order; null: see userErrors.")


SearchText = Annotated[
    str,
    strawberry.argument(
        description='Searched for in title, description and name: `"a phrase" or -word`. Blank: everything is found.'
    ),
    text_up_to(LONGEST_TEXT, "a search", "text", blank_is_absent=True),
]
ListingId = Annotated[strawberry.ID, strawberry.argument(description="Of a listing."), id_of("listing")]
PurchaseId = Annotated[strawberry.ID, strawberry.argument(description="Of a purchase."), id_of("purchase")]
BaseModelName = Annotated[
    str,
    strawberry.argument(description="Only adapters of this base model."),
    text_up_to(LONGEST_TEXT, "a base model's name", "baseModel"),
]


@strawberry.type
class MarketplaceQuery:
    @root(Connection[Listing], access=PUBLIC, order=last_published, description="Published listings, the newest first.")
    def listings(listing: Row, text: SearchText | None = None, base_model: BaseModelName | None = None) -> Conditions:
        if text is not None:
            yield listing.search.bool_op("@@")(func.websearch_to_tsquery(ENGLISH, text))
        if base_model is not None:
            yield listing.base_model == base_model

    @root(Listing | None, access=PUBLIC, description="A published listing.")
    def listing(listing: Row, id: ListingId) -> Conditions:  # noqa: A002
        yield listing.id == id

    @root(
        Connection[Listing],
        access=SELL,
        order=newest,
        description="The organisation's own listings, the newest first, withdrawn ones included.",
    )
    def own_listings(listing: Row) -> Conditions:
        # Row-level security alone lets through the others' published ones, too.
        yield listing.tenant_id == CALLER

    @root(Purchase | None, access=READ, description="An order of the organisation's.")
    def purchase(purchase: Row, id: PurchaseId) -> Conditions:  # noqa: A002
        yield purchase.id == id

    @root(Connection[Purchase], access=READ, order=newest, description="The organisation's orders, the newest first.")
    def purchases(purchase: Row) -> Conditions:
        return ()

    @root(Connection[Sale], access=READ, order=newest, description="What the organisation sold, the newest first.")
    def sales(sale: Row) -> Conditions:
        return ()


@strawberry.type
class MarketplaceMutation:
    @operation(access=SELL, description="Offer an adapter version; of an adapter that is listed, as its next version.")
    @user_errors(PublishListingPayload)
    async def publish_listing(self, info: Info, input: PublishListingInput) -> PublishListingPayload:  # noqa: A002
        caller = info.context.caller
        version_id = ids.decode("adapter version", input.adapter_version_id, field="adapterVersionId")
        async with info.context.database.unit_of_work(caller.tenant_id) as uow:
            listing = await publish_listing(
                uow,
                adapter_version_id=version_id,
                title=input.title,
                description=input.description,
                licence=input.licence,
                price=input.price,
                currency=input.currency,
            )
        return PublishListingPayload(listing=reference(Listing, listing.id))

    @operation(access=SELL, description="Take a listing off the market. Who bought it keeps it.")
    @user_errors(WithdrawListingPayload)
    async def withdraw_listing(self, info: Info, input: WithdrawListingInput) -> WithdrawListingPayload:  # noqa: A002
        caller = info.context.caller
        identifier = ids.decode("listing", input.id, field="id")
        async with info.context.database.unit_of_work(caller.tenant_id) as uow:
            listing = await withdraw_listing(uow, identifier)
        return WithdrawListingPayload(listing=reference(Listing, listing.id))

    @operation(access=BUY, description="Order a listing; pay at `checkoutUrl`. The entitlement follows the payment.")
    @user_errors(PurchaseListingPayload)
    async def purchase_listing(self, info: Info, input: PurchaseListingInput) -> PurchaseListingPayload:  # noqa: A002
        caller = info.context.caller
        purchase = await purchase_listing(
            info.context.services,
            caller,
            listing_id=ids.decode("listing", input.listing_id, field="listingId"),
            idempotency_key=input.idempotency_key,
            success_url=input.success_url,
            cancel_url=input.cancel_url,
        )
        return PurchaseListingPayload(purchase=reference(Purchase, purchase.id))
