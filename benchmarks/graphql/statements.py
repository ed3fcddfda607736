"""Hand-written SQL that answers with finished JSON text: for `bare`, `tuned` and the Node servers that take it.

The text is put together by concat and to_json, which cost PostgreSQL half of what jsonb does. The page size stands in
the statement itself: as a parameter, LIMIT makes PostgreSQL plan the statement anew each time.
"""

from collections.abc import Mapping


def _object(fields: Mapping[str, str]) -> str:
    """SQL for the text of an object. `fields` holds, for each key, one or more arguments of concat."""
    parts = [f"'{',' if place else '{'}\"{key}\":', {value}" for place, (key, value) in enumerate(fields.items())]
    return f"concat({', '.join(parts)}, '}}')"


def _connection(rows: str, node: str, cursor: str, page: str) -> str:
    """SQL for the text of a connection over `rows` (one more than `page`), each with its `place`, the first is 1.

    Rows descend by what the cursor is made of, so the page's last one is the least.
    """
    return f"""
        SELECT concat(
            '{{"edges":[', string_agg(edge.body, ',' ORDER BY edge.place) FILTER (WHERE edge.place <= {page}),
            '],"pageInfo":{{"hasNextPage":', (count(*) > {page})::text,
            ',"endCursor":', coalesce(to_json(min(edge.cursor) FILTER (WHERE edge.place <= {page}))::text, 'null'),
            '}}}}'
        )
        FROM (
            SELECT item.place, its.cursor, concat('{{"cursor":"', its.cursor, '","node":', {node}, '}}') AS body
            FROM ({rows}) AS item CROSS JOIN LATERAL (SELECT {cursor} AS cursor) AS its
        ) AS edge"""  # noqa: S608 - our own text


_DIGITS = "encode(uuid_send(item.id), 'hex')"
_BY_MOMENT = f"concat(extract(epoch FROM item.published_at), '_', {_DIGITS})"


def _identifier(prefix: str) -> str:
    return f"'\"{prefix}_', {_DIGITS}, '\"'"


_SELLER = f"""(
    SELECT {_object({"namespace": "to_json(seller.namespace)", "name": "to_json(seller.name)"})}
    FROM sellers AS seller WHERE seller.tenant_id = item.tenant_id
)"""  # noqa: S608
_VERSION = _object(
    {
        "number": "version.number",
        "digest": "to_json(version.digest)",
        "baseModel": "to_json(version.base_model)",
        "createdAt": "to_json(version.created_at)",
    }
)
_ITS_VERSIONS = "FROM listing_versions AS version WHERE version.listing_id = item.id ORDER BY version.number DESC"

_LISTING = {
    "id": _identifier("lst"),
    "name": "to_json(item.name)",
    "title": "to_json(item.title)",
    "description": "to_json(item.description)",
    "licence": "to_json(item.licence)",
    "price": "item.price",
    "currency": "to_json(item.currency)",
    "publishedAt": "to_json(item.published_at)",
    "baseModel": "to_json(item.base_model)",
    "seller": _SELLER,
    "versions": f"'[', (SELECT string_agg(body, ',') FROM (SELECT {_VERSION} AS body {_ITS_VERSIONS} LIMIT 3)), ']'",  # noqa: S608
    "latestVersion": f"coalesce((SELECT {_VERSION} {_ITS_VERSIONS} LIMIT 1), 'null')",
}
_DEPLOYMENT = {
    "id": _identifier("dep"),
    "name": "to_json(item.name)",
    "digest": "coalesce(to_json(item.digest)::text, 'null')",
    "createdAt": "to_json(item.created_at)",
}


def _listing(keys: str) -> str:
    return _object({key: _LISTING[key] for key in keys.split()})


_ONE_LISTING = _listing("id name title description licence price currency publishedAt seller versions")
_NEW_LISTING = _listing("id name title price currency publishedAt seller latestVersion")
_FOUND_LISTING = _listing("id name title price currency baseModel seller")
_PLACED = "row_number() OVER (ORDER BY published_at DESC, id DESC) AS place"
_BY_TIME = "ORDER BY published_at DESC, id DESC LIMIT"
_MATCHES = "search @@ websearch_to_tsquery('english', $1) AND base_model = $2 AND status = 'published'"

LISTING = f"SELECT {_ONE_LISTING} FROM listings AS item WHERE item.id = $1 AND item.status = 'published'"  # noqa: S608
"""$1: the id."""


def newest(page: str, one_more: str) -> str:
    rows = f"SELECT *, {_PLACED} FROM listings WHERE status = 'published' {_BY_TIME} {one_more}"  # noqa: S608
    return _connection(rows, _NEW_LISTING, _BY_MOMENT, page)


def search(page: str, one_more: str) -> str:
    """$1: words; $2: the base model."""
    rows = f"SELECT *, {_PLACED} FROM listings WHERE {_MATCHES} {_BY_TIME} {one_more}"  # noqa: S608
    return _connection(rows, _FOUND_LISTING, _BY_MOMENT, page)


def deployments(page: str, one_more: str) -> str:
    """$1: the tenant, whose rows row-level security selects. The policies are evaluated after `context` has set it."""
    rows = f"""
        SELECT *, row_number() OVER (ORDER BY id DESC) AS place
        FROM deployments WHERE deleted_at IS NULL ORDER BY id DESC LIMIT {one_more}"""  # noqa: S608
    return f"""
        WITH context AS MATERIALIZED (SELECT set_config('tunery.tenant_id', $1, true))
        SELECT ({_connection(rows, _object(_DEPLOYMENT), _DIGITS, page)}) FROM context"""  # noqa: S608


def templates() -> dict[str, str]:
    """For other languages: `{page}` and `{one_more}` are still to be filled in."""
    sizes = ("{page}", "{one_more}")
    return {
        "listing": LISTING,
        "newest": newest(*sizes),
        "search": search(*sizes),
        "deployments": deployments(*sizes),
    }
