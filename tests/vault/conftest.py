from collections.abc import Callable, Iterator

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader


@pytest.fixture(scope="session")
def reader() -> Iterator[InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    metrics.set_meter_provider(provider)
    yield reader
    provider.shutdown()


@pytest.fixture
def refusals(reader: InMemoryMetricReader) -> Callable[[], dict[str, int]]:
    """How many sealed things of each kind were refused, in all since the first call in this process."""

    def count() -> dict[str, int]:
        data = reader.get_metrics_data()
        if data is None:
            return {}
        return {
            point.attributes["what"]: point.value
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "tunery.unsealing.refused"
            for point in metric.data.data_points
        }

    return count
