"""The three ways to an answer, and how they are compared."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from graphql import GraphQLError, GraphQLSchema
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.graphql.planner.generate import Pools, Request, warm_up
from tests.graphql.planner.reference import Oracle, Outcome
from tunery.core.errors import Unauthenticated
from tunery.core.identity import Identity
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.graphql.context import Context
from tunery.graphql.documents import Document
from tunery.graphql.executor import Answer, Executor
from tunery.graphql.planner.planner import Planner, Run


class WatchedPlanner(Planner):
    """Counts what it answered itself."""

    answered = 0

    async def answer(self, run: Run, context: Context) -> bytes | None:
        data = await super().answer(run, context)
        self.answered += data is not None
        return data


class FieldsAlone:
    """A planner that leaves every query to graphql-core, which asks it for root fields."""

    def prepare(self, *_of_whatever: Any) -> None:
        return None


class Ways:
    """One schema's. `identities` by the name that requests give, None being nobody."""

    def __init__(
        self,
        schema: GraphQLSchema,
        build_schema: Callable[[], GraphQLSchema],
        reader: Reader,
        key_is_valid: str,
        engine: AsyncEngine,
        services: Services,
        identities: Mapping[str, Identity],
    ) -> None:
        self.schema = schema
        self.reader = reader
        self.services = services
        self.identities = identities
        self.planner = WatchedPlanner(schema, reader, key_is_valid)
        services.add(Planner, self.planner)
        self.oracle = Oracle(build_schema, engine)
        self.planned_way = Executor(schema, self.planner, self._confirm)
        self.fields_way = Executor(schema, FieldsAlone(), self._confirm)  # type: ignore[arg-type]
        self.answered = self.valid = self.fell_back = self.refused = 0

    async def _confirm(self, who: str | None) -> Identity:
        if who is None:
            raise Unauthenticated("send your API key: Authorization: Bearer tnr_…")
        return self.identities[who]

    def context(self, who: str | None) -> Context:
        return Context(self.services, "r", self.identities[who] if who is not None else None, None, who)

    def document(self, text: str) -> Document:
        document = Document(self.schema, text, None, suggestions=True)
        assert not document.errors, (text, document.errors)
        return document

    async def pools(self, texts: list[str]) -> Pools:
        """Ids and cursors of the rows that are there."""
        who = next(iter(self.identities))
        for text in warm_up(self.schema):
            await self.oracle.answer(self.document(text), None, {}, self.context(who))
        cursors = {where: sorted(cursors) for where, cursors in sorted(self.oracle.cursors.items())}
        return Pools(sorted(self.oracle.ids), cursors, texts)

    async def execute(
        self, text: str, variables: Mapping[str, Any] | None = None, who: str | None = None, name: str | None = None
    ) -> Answer:
        """By the planner."""
        operation = self.document(text).operation(name)
        return await self.planned_way.execute(operation, variables or {}, self.context(who))

    async def compare(self, request: Request) -> None:
        """Raises AssertionError when the three don't agree."""
        document, context = self.document(request.text), self.context(request.who)
        expected = await self.oracle.answer(document, request.operation, request.variables, context)
        try:
            operation = document.operation(request.operation)
        except GraphQLError as error:
            if [_plain(error)] != [_plain(each) for each in expected.errors] or expected.has_data:
                raise AssertionError(error, expected) from None
            self.refused += 1
            return
        before = self.planner.answered
        planned = await self.planned_way.execute(operation, request.variables, context)
        was_planned = self.planner.answered > before
        # A plan that is kept says no more than one made anew.
        again = await self.planned_way.execute(operation, request.variables, context)
        fields = await self.fields_way.execute(operation, request.variables, context)
        if expected.errors:
            self.refused += 1
        else:
            self.valid += 1
            self.answered += was_planned
            self.fell_back += not was_planned
        for way, answer in (("planned", planned), ("planned again", again), ("by fields", fields)):
            try:
                await self._check(answer, expected, document, request, context)
            except AssertionError as error:
                told = f"{way}: {_first_difference(error)}\n{request.text}\n{request.variables} {request.who}"
                raise AssertionError(f"{told}\n{_sorted(answer.errors)}") from None

    async def _check(
        self, answer: Answer, expected: Outcome, document: Document, request: Request, context: Context
    ) -> None:
        if (answer.data is not None) != expected.has_data:
            raise AssertionError(answer.data, expected.data)
        if answer.data is not None:
            got, data = _read(answer.data.decode()), _read(json.dumps(expected.data))
            if got != data:
                raise AssertionError(got, data)
        told, right = _sorted(answer.errors), _sorted(expected.errors)
        if told == right:
            return
        # Root fields run at the same time: of several errors that each make `data` null any may be first.
        if expected.data is not None:
            raise AssertionError(told, right)
        each = await self.oracle.answer(document, request.operation, request.variables, context, lenient=True)
        possible = _sorted(each.errors)
        assert told, right
        for error in told:
            missing = error["extensions"].get("code") == "INTERNAL_ERROR" and len(error["path"]) == 1
            if error not in possible and not (missing and each.data[error["path"][0]] is None):
                raise AssertionError(told, right)


def _first_difference(error: AssertionError) -> str:
    """Where the two parts of an answer that `error` carries begin to differ."""
    got, right = map(repr, error.args[:2]) if len(error.args) > 1 else (str(error), "")
    start = max(0, next((at for at, (one, two) in enumerate(zip(got, right, strict=False)) if one != two), 0) - 100)
    return f"got\n{got[start : start + 400]}\ninstead of\n{right[start : start + 400]}"


def _plain(error: GraphQLError) -> dict[str, Any]:
    formatted: dict[str, Any] = dict(error.formatted)
    extensions = dict(formatted.get("extensions") or {})
    extensions.pop("requestId", None)
    return {**formatted, "extensions": extensions}


def _sorted(errors: Any) -> list[dict[str, Any]]:
    return sorted(map(_plain, errors), key=lambda error: json.dumps(error, sort_keys=True))


def _read(text: str) -> Any:
    """Objects as pairs in their order; numbers apart from booleans, floats by value."""
    return json.loads(
        text,
        object_pairs_hook=lambda pairs: ("object", pairs),
        parse_int=lambda number: ("number", int(number)),
        parse_float=lambda number: ("number", float(number)),
    )
