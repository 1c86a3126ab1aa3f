"""The choice of the requests that are traced: it is made once for each, before anything is spent on its spans."""

from collections.abc import Sequence
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

is_traced: ContextVar[bool] = ContextVar("is_traced", default=False)
"""The current request has been drawn. FastAPI, which would draw again, and what works for the request keep to it."""


class Decided(Sampler):
    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(  # noqa: PLR0913, PLR0917 - OpenTelemetry's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if is_traced.get():
            state = get_current_span(parent_context).get_span_context().trace_state
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)
        return self._sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return self._sampler.get_description()


def install(provider: object) -> None:
    """Call this before the provider's first tracer: each takes the sampler of that moment."""
    if isinstance(provider, TracerProvider) and not isinstance(provider.sampler, Decided):
        provider.sampler = Decided(provider.sampler)
