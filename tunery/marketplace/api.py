"""Listings and purchases in GraphQL."""

from datetime import datetime
from typing import Self

import strawberry
from sqlalchemy import select
from strawberry.scalars import JSON

from tunery.core import ids
from tunery.core.errors import NotFound
from tunery.graphql.connections import PageInfo
from tunery.graphql.context import Info
from tunery.graphql.errors import UserError, user_errors
from tunery.marketplace import models
from tunery.marketplace.publish import publish_listing, withdraw_listing
from tunery.marketplace.purchase import purchase_listing
from tunery.marketplace.search import search_listings

PAGE = 20


@strawberry.type
class Seller:
    namespace: str = strawberry.field(description="On the hub: the first half of its repositories' names.")
    name: str

    @classmethod
    def of(cls, row: models.Seller) -> Self:
        return cls(namespace=row.namespace, name=row.name)


@strawberry.type(description="An adapter version as it is offered.")
class ListingVersion:
    number: int
    digest: str
    revision: str = strawberry.field(description="On the hub: the digest's first 40 digits.")
    base_model: str
    manifest: JSON = strawberry.field(description="With the verified evaluation under `metrics`.")
    created_at: datetime

    @classmethod
    def of(cls, row: models.ListingVersion) -> Self:
        return cls(
            number=row.number,
            digest=row.digest,
            revision=row.digest[:40],
            base_model=row.base_model,
            manifest=JSON(row.manifest),
            created_at=row.created_at,
        )


@strawberry.type(description="An adapter on the marketplace.")
class Listing:
    row: strawberry.Private[models.Listing]
    id: strawberry.ID
    name: str
    title: str
    description: str
    licence: str
    price: int = strawberry.field(description="In minor units (cents).")
    currency: str
    status: str = strawberry.field(description="published or withdrawn.")
    published_at: datetime

    @classmethod
    def of(cls, row: models.Listing) -> Self:
        return cls(
            row=row,
            id=strawberry.ID(ids.encode("listing", row.id)),
            name=row.name,
            title=row.title,
            description=row.description,
            licence=row.licence,
            price=row.price,
            currency=row.currency,
            status=row.status,
            published_at=row.published_at,
        )

    @strawberry.field
    async def seller(self, info: Info) -> Seller:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            return Seller.of(await uow.session.get_one(models.Seller, self.row.tenant_id))

    @strawberry.field(description="The newest first.")
    async def versions(self, info: Info) -> list[ListingVersion]:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            versions = select(models.ListingVersion).where(models.ListingVersion.listing_id == self.row.id)
            rows = await uow.session.scalars(versions.order_by(models.ListingVersion.number.desc()))
            return [ListingVersion.of(row) for row in rows]


@strawberry.type
class ListingEdge:
    node: Listing
    cursor: str


@strawberry.type
class ListingConnection:
    edges: list[ListingEdge]
    page_info: PageInfo


@strawberry.type(description="An order of a listing. It is paid when Stripe says so.")
class Purchase:
    row: strawberry.Private[models.Purchase]
    id: strawberry.ID
    price: int = strawberry.field(description="In minor units (cents).")
    currency: str
    licence: str
    status: str = strawberry.field(description="pending, paid or expired.")
    checkout_url: str | None = strawberry.field(description="Where to pay.")
    created_at: datetime
    paid_at: datetime | None

    @classmethod
    def of(cls, row: models.Purchase) -> Self:
        return cls(
            row=row,
            id=strawberry.ID(ids.encode("purchase", row.id)),
            price=row.price,
            currency=row.currency,
            licence=row.licence,
            status=row.status,
            checkout_url=row.checkout_url,
            created_at=row.created_at,
            paid_at=row.paid_at,
        )

    @strawberry.field
    async def listing(self, info: Info) -> Listing:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            return Listing.of(await uow.session.get_one(models.Listing, self.row.listing_id))


@strawberry.type(description="What a purchase brought the seller. Amounts in minor units (cents).")
class Sale:
    gross: int
    fee: int = strawberry.field(description="The platform's part.")
    net: int
    currency: str
    created_at: datetime


@strawberry.input
class PublishListingInput:
    adapter_version_id: strawberry.ID
    title: str
    description: str
    licence: str = strawberry.field(description="apache-2.0, mit, cc-by-4.0, cc-by-nc-4.0, openrail or proprietary.")
    price: int = strawberry.field(description="In minor units (cents), 50 to 1,000,000.")
    currency: str = "usd"


@strawberry.type
class PublishListingPayload:
    listing: Listing | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)


@strawberry.input
class WithdrawListingInput:
    id: strawberry.ID


@strawberry.type
class WithdrawListingPayload:
    listing: Listing | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)


@strawberry.input
class PurchaseListingInput:
    listing_id: strawberry.ID
    success_url: str = strawberry.field(description="Where Stripe sends the buyer after paying.")
    cancel_url: str
    idempotency_key: str = strawberry.field(description="Of your choice; the same key orders once.")


@strawberry.type
class PurchaseListingPayload:
    purchase: Purchase | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)


@strawberry.type
class MarketplaceQuery:
    @strawberry.field(description="Published listings, the newest first; `text` searches title, description and name.")
    async def listings(
        self, info: Info, text: str | None = None, first: int = PAGE, after: str | None = None
    ) -> ListingConnection:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            page = await search_listings(uow, text, first, after)
        return ListingConnection(
            edges=[ListingEdge(node=Listing.of(row.listing), cursor=row.cursor) for row in page.rows],
            page_info=PageInfo(has_next_page=page.has_next, end_cursor=page.end_cursor),
        )

    @strawberry.field
    async def listing(self, info: Info, id: strawberry.ID) -> Listing:  # noqa: A002
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            row = await uow.session.get(models.Listing, ids.decode("listing", id))
            if row is None:
                raise NotFound("listing", id)
            return Listing.of(row)

    @strawberry.field
    async def purchase(self, info: Info, id: strawberry.ID) -> Purchase:  # noqa: A002
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            row = await uow.session.get(models.Purchase, ids.decode("purchase", id))
            if row is None:
                raise NotFound("purchase", id)
            return Purchase.of(row)

    @strawberry.field(description="What the organisation sold, the newest first.")
    async def sales(self, info: Info) -> list[Sale]:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            rows = await uow.session.scalars(select(models.Sale).order_by(models.Sale.id.desc()))
            return [
                Sale(gross=row.gross, fee=row.fee, net=row.net, currency=row.currency, created_at=row.created_at)
                for row in rows
            ]


@strawberry.type
class MarketplaceMutation:
    @strawberry.mutation(description="Offer an adapter version; of an adapter that is listed, as its next version.")
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
            return PublishListingPayload(listing=Listing.of(listing))

    @strawberry.mutation(description="Take a listing off the market. Who bought it keeps it.")
    @user_errors(WithdrawListingPayload)
    async def withdraw_listing(self, info: Info, input: WithdrawListingInput) -> WithdrawListingPayload:  # noqa: A002
        caller = info.context.caller
        identifier = ids.decode("listing", input.id, field="id")
        async with info.context.database.unit_of_work(caller.tenant_id) as uow:
            return WithdrawListingPayload(listing=Listing.of(await withdraw_listing(uow, identifier)))

    @strawberry.mutation(description="Order a listing; pay at `checkoutUrl`. The entitlement follows the payment.")
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
        return PurchaseListingPayload(purchase=Purchase.of(purchase))
