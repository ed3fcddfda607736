"""Traces: spans of some requests, sent to an OpenTelemetry collector; and metrics: counters, sent there as well.

The spans of one request cost some 700 µs until they are sent, ten times as much as the rest of it. So the choice falls
before the first one is made, and a request that is not traced pays next to nothing.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_tracer = trace.get_tracer("tunery")
_propagator = TraceContextTextMapPropagator()
_traced: ContextVar[bool] = ContextVar("traced", default=False)
"""Asking OpenTelemetry would cost ten times as much."""


def start_tracing(endpoint: str, process: str) -> TracerProvider:
    """Send spans by OTLP over HTTP from now on, in the background. Shutting the provider down sends the last ones."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    provider = TracerProvider(resource=Resource.create({"service.name": f"tunery {process}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    trace.set_tracer_provider(provider)
    return provider


def start_metrics(endpoint: str, process: str) -> MeterProvider:
    """Send counters by OTLP over HTTP every minute from now on. Shutting the provider down sends their last values."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint))
    provider = MeterProvider([reader], resource=Resource.create({"service.name": f"tunery {process}"}))
    metrics.set_meter_provider(provider)
    return provider


class Sampler:
    """Chooses the requests that are traced: so many a second at most, so that tracing costs the same whatever the load;
    and as many again of those whose `traceparent` says that they are (https://www.w3.org/TR/trace-context/).
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second if per_second else math.inf
        self._due = self._due_to_follow = -math.inf if per_second else math.inf

    def is_due(self, now: float) -> bool:
        """Whether `wants` would take a request that says nothing."""
        return now >= self._due

    def wants(self, headers: Iterable[tuple[bytes, bytes]], now: float) -> bool:
        for name, value in headers:
            if name == b"traceparent":
                follows = _is_sampled(value) and now >= self._due_to_follow
                if follows:
                    self._due_to_follow = now + self._interval
                return follows
        if now < self._due:
            return False
        self._due = now + self._interval
        return True


def _is_sampled(traceparent: bytes) -> bool:
    """Bit 0 of the flags, its last two digits."""
    flags = traceparent.rpartition(b"-")[2]
    return len(flags) == 2 and flags.isalnum() and flags[1:] in b"13579bdf"  # noqa: PLR2004 - the specification's


@contextmanager
def request_span(name: str, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[Span]:
    """The span of a sampled request, under the one that its `traceparent` names."""
    carrier = {key.decode("latin-1"): value.decode("latin-1") for key, value in headers if key.startswith(b"trace")}
    with _tracer.start_as_current_span(name, _propagator.extract(carrier), SpanKind.SERVER) as span:
        token = _traced.set(True)
        try:
            yield span
        finally:
            _traced.reset(token)


def is_traced() -> bool:
    """Whether what runs is part of a sampled request."""
    return _traced.get()


def part_span(name: str) -> AbstractContextManager[Span]:
    """The span of a part of what is being traced. Ask `is_traced` first: a span that nobody wants costs, too."""
    return _tracer.start_as_current_span(name)
