"""Finding listings: full text, newest first, page by page."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, tuple_

from tunery.core.database import UnitOfWork
from tunery.core.errors import InvalidInput
from tunery.marketplace.models import Listing, Seller

LARGEST_PAGE = 100
LONGEST_TEXT = 200
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class FoundListing:
    """`cursor` is where the next page begins after this one."""

    listing: Listing
    seller: Seller
    cursor: str


@dataclass(frozen=True)
class ListingPage:
    rows: list[FoundListing]
    has_next: bool

    @property
    def end_cursor(self) -> str | None:
        return self.rows[-1].cursor if self.rows else None


async def search_listings(uow: UnitOfWork, text: str | None, first: int, after: str | None) -> ListingPage:
    """Published listings, newest first; with `text` those that match it in the syntax of web search engines (`"a
    phrase" or -word`). Raises InvalidInput.
    """
    if not 1 <= first <= LARGEST_PAGE:
        raise InvalidInput(f"a page has 1 to {LARGEST_PAGE} listings", field="first")
    if text is not None and (len(text) > LONGEST_TEXT or "\0" in text):
        raise InvalidInput(f"a search has up to {LONGEST_TEXT} characters", field="text")
    query = (
        select(Listing, Seller)
        .join(Seller, Seller.tenant_id == Listing.tenant_id)
        .where(Listing.status == "published")
        .order_by(Listing.published_at.desc(), Listing.id.desc())
        .limit(first + 1)
    )
    if text is not None and text.strip():
        query = query.where(Listing.search.bool_op("@@")(func.websearch_to_tsquery("english", text)))
    if after is not None:
        query = query.where(tuple_(Listing.published_at, Listing.id) < tuple_(*_decode_cursor(after)))
    rows = (await uow.session.execute(query)).all()
    found = [FoundListing(listing, seller, _encode_cursor(listing)) for listing, seller in rows[:first]]
    return ListingPage(found, has_next=len(rows) > first)


def _encode_cursor(listing: Listing) -> str:
    microseconds = (listing.published_at - EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{microseconds} {listing.id}".encode()).decode()


def _decode_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        microseconds, identifier = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        return EPOCH + timedelta(microseconds=int(microseconds)), UUID(identifier)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            "this is no cursor of a listing: take endCursor of the page before", field="after"
        ) from error
