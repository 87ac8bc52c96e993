//! The spans of calls, for those who subscribe to them.

use std::sync::Arc;

use panpipe_transport::Peer;
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};
use tracing::subscriber::NoSubscriber;
use tracing::{Level, Span, field};

use super::TraceContext;
use crate::labels::Labels;
use crate::watch::Side;

/// Whether anybody may want spans of calls: all that a call costs where nobody does.
#[inline]
pub(crate) fn may_be_wanted() -> bool {
    Level::DEBUG <= STATIC_MAX_LEVEL && Level::DEBUG <= LevelFilter::current()
}

macro_rules! span {
    ($name:literal, $kind:literal, $method:ident, $peer:ident, $($parent:tt)*) => {{
        // What kind of span it is only OpenTelemetry wants to know.
        #[cfg(feature = "opentelemetry")]
        let span = tracing::debug_span!(target: "panpipe", $($parent)* $name, otel.kind = $kind, method = $method, peer = %$peer, outcome = field::Empty, trace_id = field::Empty);
        #[cfg(not(feature = "opentelemetry"))]
        let span = tracing::debug_span!(target: "panpipe", $($parent)* $name, method = $method, peer = %$peer, outcome = field::Empty, trace_id = field::Empty);
        span
    }};
}

/// Makes the span of a call, and makes the trace of `labels` the context of what happens in it. A
/// call that belongs to no trace begins one; where nobody wants the span it does not.
pub(crate) fn of_call(
    side: Side,
    method: &'static str,
    peer: &Peer,
    labels: &mut Option<Arc<Labels>>,
) -> Span {
    // What others subscribe to elsewhere may seem to be wanted here too.
    if tracing::dispatcher::get_default(|here| here.is::<NoSubscriber>()) {
        return Span::none();
    }
    let span = match side {
        Side::Client => span!("call", "client", method, peer,),
        // The task that it is made in is its connection's: no part of any trace.
        Side::Server => span!("handle", "server", method, peer, parent: None,),
    };
    if !span.is_disabled() {
        let own = context_of(&span, labels.as_ref().and_then(|labels| labels.trace.as_ref()));
        span.record("trace_id", field::display(format_args!("{:032x}", own.trace_id)));
        *labels = Some(Labels::in_trace(labels.as_deref(), own));
    }
    span
}

fn context_of(span: &Span, parent: Option<&TraceContext>) -> TraceContext {
    #[cfg(feature = "opentelemetry")]
    if let Some(own) = super::opentelemetry::join(span, parent) {
        return own;
    }
    #[cfg(not(feature = "opentelemetry"))]
    let _ = span;
    parent.map_or_else(TraceContext::begin, TraceContext::child)
}
