//! Spans of calls as OpenTelemetry's, where `tracing-opentelemetry` subscribes.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::TraceContext;

/// Makes `span` a child of `parent`, unless it stands in a span of this process
/// already. Gives the ids that it has; none where nobody exports it.
pub(super) fn join(span: &Span, parent: Option<&TraceContext>) -> Option<TraceContext> {
    if let Some(parent) = parent {
        if !is_inside(&Span::current(), parent) {
            let remote = Context::new().with_remote_span_context(parent.into());
            // It fails where nobody exports spans.
            let _ = span.set_parent(remote);
        }
    }
    ids(span)
}

/// Whether what is done now is done in a span of this trace.
fn is_inside(current: &Span, trace: &TraceContext) -> bool {
    ids(current).is_some_and(|current| current.trace_id == trace.trace_id)
}

fn ids(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let ids = context.span().span_context().clone();
    ids.is_valid().then(|| TraceContext {
        trace_id: u128::from_be_bytes(ids.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(ids.span_id().to_bytes()),
        sampled: ids.is_sampled(),
    })
}

impl From<&TraceContext> for SpanContext {
    fn from(trace: &TraceContext) -> Self {
        let flags = if trace.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace_id, span_id) = (TraceId::from(trace.trace_id), SpanId::from(trace.span_id));
        SpanContext::new(trace_id, span_id, flags, true, TraceState::default())
    }
}
