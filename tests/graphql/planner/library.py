"""A schema that uses every feature of the planner, on tables of its own.

Two tenants' authors with their works (novels and atlases in one table), reviews, towns, and `Sample`, which has a field
for every scalar. The rows are the same in every run. Kinds of ids are borrowed from Tunery's.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID, uuid5

import asyncpg
import sqlalchemy as sa
import strawberry
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.schema import CreateTable
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types

from tunery.core.database import APPLICATION_ROLE, CURRENT_TENANT
from tunery.core.errors import InvalidInput
from tunery.core.identity import Identity
from tunery.graphql.access import AUTHENTICATED, PUBLIC
from tunery.graphql.connections import Connection
from tunery.graphql.context import Info
from tunery.graphql.node import Node, NodeQuery
from tunery.graphql.planner.declare import (
    Conditions,
    Row,
    column,
    connection,
    global_id,
    id_of,
    many,
    one,
    operation,
    planned,
    reference,
    root,
    text_up_to,
)
from tunery.graphql.scalars import SCALARS, BigInt

READ, READ_MAPS = "library:read", "maps:read"
NAMESPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def made(name: str) -> UUID:
    """The same id for the same name in every run."""
    return uuid5(NAMESPACE, name)


# The tables.

metadata = sa.MetaData()


def _table(name: str, *columns: sa.Column[Any]) -> sa.Table:
    tenant = sa.Column("tenant_id", sa.Uuid, nullable=False)
    identifier = sa.Column("id", sa.Uuid, primary_key=True)
    return sa.Table(f"library_{name}", metadata, identifier, tenant, *columns)


def _required(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _moment() -> sa.DateTime:
    return sa.DateTime(timezone=True)


keys = _table("keys", sa.Column("revoked_at", _moment()))
towns = _table(
    "towns", _required("name", sa.Text), sa.Column("population", sa.BigInteger), _required("common", sa.Boolean)
)
authors = _table(
    "authors",
    _required("name", sa.Text),
    sa.Column("motto", sa.Text),
    _required("joined", _moment()),
    _required("rank", sa.Integer),
    _required("open", sa.Boolean),
    sa.Column("mentor_id", sa.Uuid),
    sa.Column("home_id", sa.Uuid),
)
works = _table(
    "works",
    _required("author_id", sa.Uuid),
    _required("kind", sa.Text),
    _required("title", sa.Text),
    _required("pages", sa.BigInteger),
    _required("published_at", _moment()),
    sa.Column("genre", sa.Text),
    sa.Column("maps", sa.Integer),
    sa.Column("scale", sa.Numeric(30, 12)),
)
reviews = _table(
    "reviews",
    _required("work_id", sa.Uuid),
    _required("stars", sa.Integer),
    _required("number", sa.BigInteger),
    _required("words", sa.Text),
    _required("written_at", _moment()),
)
samples = _table(
    "samples",
    _required("author_id", sa.Uuid),
    _required("position", sa.Integer),
    *(
        sa.Column(f"{prefix}{name}", kind, nullable=prefix == "maybe_")
        for prefix in ("", "maybe_")
        for name, kind in {
            "text": sa.Text(),
            "small": sa.Integer(),
            "large": sa.BigInteger(),
            "ratio": sa.Float(),
            "flag": sa.Boolean(),
            "amount": sa.Numeric(30, 12),
            "loose": sa.Numeric(),
            "moment": _moment(),
            "blob": JSONB(),
            "tags": JSONB(),
            "words": ARRAY(sa.Text()),
            "other_id": sa.Uuid(),
        }.items()
    ),
)
open_authors = sa.Table(
    "library_open_authors", sa.MetaData(), *(sa.Column(c.name, c.type, nullable=c.nullable) for c in authors.columns)
)
open_works = sa.Table(
    "library_open_works", sa.MetaData(), *(sa.Column(c.name, c.type, nullable=c.nullable) for c in works.columns)
)
VIEWS = {
    open_authors: "SELECT * FROM library_authors WHERE open",
    open_works: "SELECT w.* FROM library_works w JOIN library_authors a ON a.id = w.author_id WHERE a.open",
}


# The types.


def newest_first(row: Row) -> Sequence[sa.ColumnElement[Any]]:
    return [row.published_at.desc(), row.id.desc()]


def by_title(row: Row) -> Sequence[sa.ColumnElement[Any]]:
    return [row.title, row.id]


def longest_first(row: Row) -> Sequence[sa.ColumnElement[Any]]:
    """Mixed directions: fine for what has no cursors."""
    return [row.pages.desc(), row.title.asc(), row.id]


def by_author(author: Row, other: Row) -> sa.ColumnElement[bool]:
    return other.author_id == author.id


@planned(towns, description="Where people live.")
class Town:
    name: str = column(description="Its name.")
    population: int | None = column(description="May be beyond 32 bits: then it is an error.")
    letters: int = column(lambda town: sa.func.char_length(town.name), description="Of its name.")


@planned(reviews, description="What somebody thinks of a work.")
class Review:
    id: strawberry.ID = column(description="The bare UUID.")
    stars: int = column(description="1 to 5.")
    number: BigInt = column(description="Rises.")
    number_id: strawberry.ID = column(lambda review: review.number, description="A whole number as an ID.")
    words: str = column(description="The review itself.")
    written_at: datetime = column(description="When.")
    work: "Work" = one(lambda review, work: work.id == review.work_id, description="What it is about.")


@strawberry.interface(description="What an author made.")
class Work(Node):
    title: str = column(description="Its title.")
    pages: BigInt = column(description="How long it is.")
    few_pages: int = column(lambda work: work.pages, description="An error beyond 32 bits.")
    published_at: datetime = column(description="When it came out.")
    author: "Author" = one(lambda work, author: author.id == work.author_id, description="Who made it.")
    reviews: Connection[Review] = connection(
        lambda work, review: review.work_id == work.id,
        order=lambda review: [review.stars.desc(), review.number.desc()],
        description="The best first.",
    )


@planned(works, public=open_works, access=READ, kind="listing", when=("kind", "novel"), description="A long story.")
class Novel(Work):
    id: strawberry.ID = global_id("listing")
    genre: str | None = column(description="Of stories.")
    first_words: str = column(lambda work: sa.func.split_part(work.title, " ", 1), description="Of its title.")


@planned(
    works, public=open_works, access=READ_MAPS, kind="purchase", when=("kind", "atlas"), description="A book of maps."
)
class Atlas(Work):
    id: strawberry.ID = global_id("purchase")
    maps: int = column(description="How many; an error where nobody counted.")
    scale: Decimal | None = column(description="Of its maps.")


Medium = Annotated[Novel | Atlas, strawberry.union("Medium", description="All that can be read.")]


@planned(samples, description="Every scalar.")
class Sample:
    position: int = column(description="In its list.")
    text: str = column(description="String!")
    maybe_text: str | None = column(description="String")
    upper: str | None = column(lambda s: sa.func.upper(s.maybe_text), description="An expression.")
    small: int = column(description="Int! of int4")
    maybe_small: int | None = column(description="Int of int4")
    wild_int: int = column(lambda s: s.large, description="Int! of int8, often beyond 32 bits")
    maybe_wild_int: int | None = column(lambda s: s.maybe_large, description="Int of int8")
    large: BigInt = column(description="BigInt!")
    maybe_large: BigInt | None = column(description="BigInt")
    total: BigInt = column(lambda s: s.large + s.small, description="An expression.")
    ratio: float = column(description="Float!")
    wild_ratio: float | None = column(lambda s: s.maybe_ratio, description="Float; may be NaN or infinite")
    half: float = column(lambda s: s.small / 2.0, description="An expression.")
    flag: bool = column(description="Boolean!")
    maybe_flag: bool | None = column(description="Boolean")
    is_large: bool = column(lambda s: s.large > 2**31, description="An expression.")
    amount: Decimal = column(description="Decimal! with 12 digits behind the point")
    maybe_amount: Decimal | None = column(description="Decimal")
    loose: Decimal = column(description="Decimal! of any length")
    maybe_loose: Decimal | None = column(description="Decimal")
    moment: datetime = column(description="DateTime!")
    maybe_moment: datetime | None = column(description="DateTime")
    later: datetime | None = column(lambda s: s.maybe_moment + timedelta(microseconds=10), description="An expression.")
    blob: JSON = column(description="JSON!")
    maybe_blob: JSON | None = column(description="JSON")
    wild_blob: JSON = column(lambda s: s.maybe_blob, description="JSON! that may be missing, or JSON's null")
    tags: list[str] = column(description="[String!]! of JSONB")
    wild_tags: list[str] | None = column(lambda s: s.maybe_tags, description="[String!]; may hold nulls and numbers")
    words: list[str] = column(description="[String!]! of text[]")
    wild_words: list[str] | None = column(lambda s: s.maybe_words, description="[String!]; may hold nulls")
    other_id: strawberry.ID = global_id("quote", lambda s: s.other_id)
    maybe_other_id: strawberry.ID | None = global_id("quote", lambda s: s.maybe_other_id)
    wild_missing: str = column(lambda s: s.maybe_text, description="String! that may be missing")


@planned(authors, public=open_authors, access=PUBLIC, kind="adapter", description="Who writes.")
class Author(Node):
    id: strawberry.ID = global_id("adapter")
    name: str = column(description="Their name.")
    motto: str | None = column(description="What they live by.")
    joined: datetime = column(description="When they came.")
    rank: int = column(description="Among all.")
    initial: str = column(lambda author: sa.func.left(author.name, 1), description="An expression.")
    mentor_id: strawberry.ID | None = global_id("adapter", lambda author: author.mentor_id)
    mentor: "Author | None" = one(lambda author, other: other.id == author.mentor_id, description="Taught them.")
    town: Town | None = one(lambda author, town: town.id == author.home_id, description="Where they live.")
    wild_home: Town = one(lambda author, town: town.id == author.home_id, description="An error for the homeless.")
    works: Connection[Work] = connection(by_author, order=newest_first, description="The newest first.")
    media: Connection[Medium] = connection(by_author, order=by_title, description="By title.")
    novels: Connection[Novel] = connection(
        lambda author, work: (work.author_id == author.id) & (work.kind == "novel"),
        order=lambda work: [work.id],
        description="By id.",
    )
    longest: list[Work] = many(by_author, order=longest_first, description="The longest first.")
    latest: Work | None = one(by_author, order=newest_first, description="The newest.")
    wild_latest: Medium = one(by_author, order=newest_first, description="The newest; an error for the lazy.")
    students: Connection["Author"] = connection(
        lambda author, other: other.mentor_id == author.id,
        order=lambda author: [author.name.desc(), author.id.desc()],
        description="Whom they taught.",
    )
    samples: list[Sample] = many(by_author, order=lambda sample: [sample.position], description="Of their hand.")


AuthorId = Annotated[strawberry.ID, id_of("adapter")]
Beginning = Annotated[str, text_up_to(20, "a beginning", "beginning")]
Searched = Annotated[str, text_up_to(20, "a search", "name", blank_is_absent=True)]


@strawberry.type(description="Written by hand.")
class Desk:
    name: str = strawberry.field(description="Its name.")
    favourite: Author | None = strawberry.field(description="A planned type below a hand-written one.")
    neighbours: list["Desk"] = strawberry.field(description="Nested.", default_factory=list)


@strawberry.type
class LibraryQuery:
    @root(Connection[Author], access=READ, order=lambda a: [a.rank], description="By rank.")
    def authors(
        author: Row,
        beginning: Beginning | None = None,
        above_rank: int | None = None,
        is_open: bool | None = None,
        mentor_id: AuthorId | None = None,
    ) -> Conditions:
        if beginning is not None:
            yield author.name.startswith(beginning, autoescape=False)
        if above_rank is not None:
            yield author.rank > above_rank
        if is_open is not None:
            yield author.open == is_open
        if mentor_id is not None:
            yield author.mentor_id == mentor_id

    @root(Connection[Author], access=READ, order=lambda a: [a.name, a.id], description="By name.")
    def authors_by_name(author: Row) -> Conditions:
        return ()

    @root(Author | None, access=READ, description="Of that id.")
    def author(author: Row, id: AuthorId) -> Conditions:  # noqa: A002
        yield author.id == id

    @root(Author, access=READ, description="Of that rank; an error when there is none.")
    def author_of_rank(author: Row, rank: int) -> Conditions:
        yield author.rank == rank

    @root(Connection[Medium], access=READ, order=newest_first, description="The newest first.")
    def media(work: Row, title: str | None = None) -> Conditions:
        if title is not None:
            yield work.title == title

    @root(Connection[Review], access=READ, order=lambda r: [r.written_at, r.id], description="The oldest first.")
    def reviews(review: Row, stars: int | None = None) -> Conditions:
        if stars is not None:
            yield review.stars == stars

    @root(list[Work], access=READ, order=longest_first, description="The longest first.")
    def works(work: Row) -> Conditions:
        return ()

    @root(Work | None, access=READ, order=newest_first, description="The newest.")
    def newest_work(work: Row, title: str | None = None) -> Conditions:
        if title is not None:
            yield work.title == title

    @root(list[Sample], access=READ, order=lambda s: [s.position, s.id], description="Every scalar.")
    def samples(sample: Row, above: int = -1) -> Conditions:
        yield sample.position > above

    @root(Connection[Town], access=READ, order=lambda t: [t.name, t.id], description="By name.")
    def towns(town: Row, name: Searched | None = None) -> Conditions:
        if name is not None:
            yield town.name.contains(name, autoescape=False)

    @root(Connection[Author], access=PUBLIC, order=lambda a: [a.joined.desc(), a.id.desc()], description="For all.")
    def open_authors(author: Row, beginning: Beginning | None = None) -> Conditions:
        if beginning is not None:
            yield author.name.startswith(beginning, autoescape=False)

    @root(Author | None, access=PUBLIC, description="Of that id.")
    def open_author(author: Row, author_id: AuthorId) -> Conditions:
        yield author.id == author_id

    @operation(access=READ, description="Written by hand, with planned ones below.")
    async def desk(self, info: Info, rank: int = 1) -> Desk | None:
        if rank < 0:
            raise InvalidInput("desks are counted from 0", field="rank")
        who = reference(Author, made(f"author A{rank}"))
        return Desk(name=f"desk {rank}", favourite=who, neighbours=[Desk(name="next", favourite=None)])

    @operation(access=PUBLIC, description="Written by hand.")
    def echo(self, text: str = "echo", times: int = 1) -> list[str]:
        return [text] * min(times, 10)

    @operation(access=READ, description="Of another tenant's library.")
    async def guest(self, info: Info) -> Desk:
        return Desk(name="guest", favourite=reference(Author, made("author B0"), tenant_id=TENANTS["B"]))


Query = merge_types("Query", (LibraryQuery, NodeQuery))
TENANTS = {name: made(f"tenant {name}") for name in "AB"}
IDENTITIES = {name: Identity(TENANTS[name], made(f"key {name}"), made(f"member {name}")) for name in "AB"}


class WithoutMaps(Identity):
    def may(self, permission: str) -> bool:
        return permission in {AUTHENTICATED, READ}


IDENTITIES["A without maps"] = WithoutMaps(TENANTS["A"], made("key A"), made("member A"))
KEY_IS_VALID = "EXISTS (SELECT FROM library_keys WHERE id = {} AND revoked_at IS NULL)"


def build_schema() -> Any:
    """graphql-core's schema of these types, a new one each time."""
    return strawberry.Schema(Query, types=[Novel, Atlas], config=StrawberryConfig(scalar_map=SCALARS))._schema


# The rows.

TEXTS = [
    "", "plain", 'say "hi"', "back\\slash \\u0041 \\", "tab\t line\n return\r bell\x07 \x01 \x1f \x7f", "é 漢字 🎉 \u2028",
    "null", "'; --", "%s {} $1 :name", "<script>&amp;</script>", " padded ", "ﬀ İ ß",
]  # fmt: skip
BLOBS: list[Any] = [
    {}, [], {"null": None}, True, 0, "text", 1.5, {"b": 1, "aa": [None, {"ü": '漢 " \\ \n'}], "a": {"deep": [[[]]]}},
    [1e22, -0.5, 12345678901234567890, 1e-7, 0.1], {"": {"": None}}, "\x01\x02", [{"k": "v"}] * 3,
]  # fmt: skip
SMALLS = [0, 1, -1, 2**31 - 1, -(2**31), 7, 42, 100, 12, -99, 5, 3]
LARGES = [0, 1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**53, 2**62, -(2**53), 12, 5, 3]
RATIOS = [0.0, -0.0, 1.0, 0.1, 5e-324, 1.7976931348623157e308, -1e-7, 1e22, 123456789.125, 1 / 3, 1e15, 1e16]
WILD_RATIOS = [None, 1.5, float("nan"), float("inf"), float("-inf"), -0.0, 3.0, 2e-300, None, 1e100, 0.5, 7.25]
AMOUNTS = [
    "0", "0.000000000001", "-0.5", "1.500000", "100", "123456789012345678.123456789012", "-1", "1000000", "10.10",
    "-123456789012345678.999999999999", "0.1", "0.000000000000",
]  # fmt: skip
LOOSE = [
    "0", "0.00", "1.10", "1E+5", "1E-30", "-0.000", "123456789012345678901234567890.123456789012345678901234567890",
    "5", "1200", "NaN", "7.0", "0.3",
]  # fmt: skip
TAGS: list[Any] = [
    [],
    ["a"],
    ["a", ""],
    ['"', "\\", "\n", "漢"],
    ["x"] * 5,
    ["null"],
    ["1"],
    ["a b"],
    [" "],
    ["ß"],
    ["z", "y"],
    ["."],
]
WILD_TAGS: list[Any] = [
    None,
    [],
    ["a"],
    ["a", None],
    [None],
    ["a", 1],
    ["a", True, 1.5],
    ["b"],
    None,
    [""],
    ["q"],
    ["w"],
]
MOMENTS = [
    EPOCH, EPOCH + timedelta(microseconds=1), EPOCH + timedelta(microseconds=120), EPOCH + timedelta(milliseconds=500),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC),
    datetime(9999, 12, 30, 23, 59, 59, 999999, tzinfo=UTC), EPOCH + timedelta(microseconds=100_000), EPOCH,
    datetime(2024, 2, 29, 12, 0, 1, 10, tzinfo=UTC), EPOCH + timedelta(days=1), EPOCH + timedelta(hours=5),
]  # fmt: skip
WORDS: list[Any] = [
    ["a"],
    [],
    ["a b", 'c"d'],
    ["\\", "{}", "NULL"],
    ["漢"],
    [""],
    ["x", "y"],
    ["1"],
    ["\n"],
    ["q"],
    ["w"],
    ["e"],
]
WILD_WORDS: list[Any] = [None, ["a"], ["a", None], [None], [], ["b"], ["c"], None, ["d"], ["e"], ["f"], ["g"]]
MOTTOS = [None, "", 'never "quote"', "漢字 \\ forever", "first\nsecond", None, "plain"]


def rows() -> dict[sa.Table, list[dict[str, Any]]]:
    """All rows of all tables."""
    found: dict[sa.Table, list[dict[str, Any]]] = {table: [] for table in metadata.sorted_tables}

    def add(table: sa.Table, tenant: str, unique: str, **values: Any) -> UUID:
        identifier = made(unique)
        found[table].append({"id": identifier, "tenant_id": TENANTS[tenant], **values})
        return identifier

    for tenant in "AB":
        add(keys, tenant, f"key {tenant}", revoked_at=None)
        for number in range(4):
            population = [None, 12, 2**33, 3_000_000][number]
            add(
                towns, tenant, f"town {tenant}{number}", name=f"Town {number}", population=population, common=number < 2
            )
        for number in range(9 if tenant == "A" else 4):
            _add_author(add, tenant, number)
    return found


def _add_author(add: Any, tenant: str, number: int) -> None:
    author = add(
        authors,
        tenant,
        f"author {tenant}{number}",
        name=["Ada", "Bo", "Ada", 'C"y', "Ünal", "漢", "Émile", "", "Zoë"][number],
        motto=MOTTOS[number % len(MOTTOS)],
        joined=EPOCH + timedelta(days=number // 2, microseconds=[0, 250_000][number % 2]),
        rank=[3, 1, 2, 10, 7, 40, -5, 2**31 - 1, 0][number],
        open=number % 3 != 2,
        mentor_id=None if number == 0 else made(f"author {tenant}{number // 3}"),
        home_id=[
            made(f"town {tenant}{number // 4 * 3 % 4}"),
            made(f"town {tenant}{number % 4}"),
            made("nowhere"),
            None,
        ][number % 4],
    )
    for position in range([4, 2, 0, 7, 1, 3, 0, 2, 1][number]):
        name = f"work {tenant}{number}.{position}"
        atlas = (position + number) % 3 == 0
        work = add(
            works,
            tenant,
            name,
            author_id=author,
            kind="atlas" if atlas else "novel",
            title=["One day", "Two", 'The "x"', "One day", "é", "zz top", "A\\B"][position],
            pages=[100, 2**31 - 1, 5, 100, 7, 1, 3][position] + (2**32 if name == "work A0.1" else 0),
            published_at=EPOCH + timedelta(days=position // 2, microseconds=number % 2),
            genre=None if atlas else ["crime", None, 'a "b"'][position % 3],
            maps=None if not atlas or name == "work A3.3" else position,
            scale=Decimal("0.500000") if atlas and position % 2 else None,
        )
        for review in range((position + 2 * number) % 5):
            add(
                reviews,
                tenant,
                f"review {tenant}{number}.{position}.{review}",
                work_id=work,
                stars=1 + (review + position) % 5 // 2,
                number=2**40 + review + 10 * position + 100 * number,
                words=TEXTS[(review + number) % len(TEXTS)],
                written_at=EPOCH + timedelta(seconds=review // 2, microseconds=position),
            )
    for at in range(12) if number == 0 else range(number % 3):
        _add_sample(add, tenant, number, author, at)


def _add_sample(add: Any, tenant: str, number: int, author: UUID, at: int) -> None:
    def other(values: list[Any], default: Any = None) -> Any:
        return values[(at + 5) % len(values)] if at % 3 else default

    add(
        samples,
        tenant,
        f"sample {tenant}{number}.{at}",
        author_id=author,
        position=at,
        text=TEXTS[at],
        maybe_text=other(TEXTS),
        small=SMALLS[at],
        maybe_small=other(SMALLS),
        large=LARGES[at] if number == 0 else at,
        maybe_large=other(LARGES),
        ratio=RATIOS[at],
        maybe_ratio=WILD_RATIOS[at],
        flag=at % 2 == 0,
        maybe_flag=other([True, False]),
        amount=Decimal(AMOUNTS[at]),
        maybe_amount=None if at % 3 == 0 else Decimal(AMOUNTS[-at]),
        loose=Decimal(LOOSE[at]),
        maybe_loose=None if at % 3 == 0 else Decimal(LOOSE[-at]),
        moment=MOMENTS[at],
        maybe_moment=None if at in {2, 8} else MOMENTS[at] - timedelta(hours=1),
        blob=json.dumps(BLOBS[at]),
        maybe_blob=json.dumps(None) if at == 4 else other([json.dumps(blob) for blob in BLOBS]),
        tags=json.dumps(TAGS[at]),
        maybe_tags=None if WILD_TAGS[at] is None else json.dumps(WILD_TAGS[at]),
        words=WORDS[at],
        maybe_words=WILD_WORDS[at],
        other_id=made(f"other {at}"),
        maybe_other_id=other([made("x"), made("y")]),
    )


async def create(owner: asyncpg.Connection) -> None:
    """Tables, policies and rows."""
    for table in metadata.sorted_tables:
        own = f"tenant_id = (SELECT {CURRENT_TENANT})"
        await owner.execute(str(CreateTable(table).compile(dialect=sa.dialects.postgresql.dialect())))
        await owner.execute(f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY")
        await owner.execute(f"ALTER TABLE {table.name} FORCE ROW LEVEL SECURITY")
        await owner.execute(
            f"CREATE POLICY own_rows ON {table.name} TO {APPLICATION_ROLE} USING ({own}) WITH CHECK ({own})"
        )
        await owner.execute(f"GRANT SELECT, INSERT ON {table.name} TO {APPLICATION_ROLE}")
    readable = f"common AND (SELECT {CURRENT_TENANT}) IS NOT NULL"
    await owner.execute(
        f"CREATE POLICY also_readable ON library_towns FOR SELECT TO {APPLICATION_ROLE} USING ({readable})"
    )
    for view, query in VIEWS.items():
        await owner.execute(f"CREATE VIEW {view.name} AS {query}")
        await owner.execute(f"GRANT SELECT ON {view.name} TO {APPLICATION_ROLE}")
    for table, values in rows().items():
        names = [column.name for column in table.columns]
        places = ", ".join(f"${index + 1}" for index in range(len(names)))
        insert = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})"
        await owner.executemany(insert, [[row[name] for name in names] for row in values])


async def drop(owner: asyncpg.Connection) -> None:
    for view in reversed(VIEWS):
        await owner.execute(f"DROP VIEW IF EXISTS {view.name}")
    for table in metadata.sorted_tables:
        await owner.execute(f"DROP TABLE IF EXISTS {table.name}")
