"""Trusted documents: the operations committed in `operations/`, called by the SHA-256 of their text.

    curl "$TUNERY/graphql?documentId=$(sha256sum Listings.graphql | cut -d' ' -f1)"

Nothing is ever registered by a client.
"""

import hashlib
from collections.abc import Iterable
from importlib.resources import files

from graphql import GraphQLSchema

from tunery.graphql.documents import Document

PREFIX = "sha256:"
"""As GraphQL over HTTP writes document ids; it may be left out."""


class TrustedDocuments:
    """By id. Static limits don't hold for them: they were measured when they were committed."""

    def __init__(self, schema: GraphQLSchema, texts: Iterable[str]) -> None:
        """Raises ValueError when a text is no valid document of the schema."""
        self._documents: dict[str, Document] = {}
        for text in texts:
            document = Document(schema, text, None)
            if document.errors:
                faults = "; ".join(error.message for error in document.errors)
                raise ValueError(f"a trusted document is not valid: {faults}\n{text}")
            self._documents[document_id(text)] = document

    def find(self, identifier: str) -> Document | None:
        return self._documents.get(identifier.removeprefix(PREFIX))


def committed_operations() -> dict[str, str]:
    """The committed documents by their files' names."""
    folder = files("tunery.graphql") / "operations"
    found = sorted(folder.iterdir(), key=lambda file: file.name)
    return {file.name: file.read_text("utf-8") for file in found if file.name.endswith(".graphql")}


def document_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
