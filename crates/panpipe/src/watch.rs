//! What goes with a call that is watched: its trace, its metadata, its span, its counters.

use std::sync::Arc;

use panpipe_transport::Peer;
use tracing::Span;

use crate::error::CallError;
use crate::labels::Labels;
use crate::layer::{Ended, Outcome};
#[cfg(feature = "metrics")]
use crate::metrics::Meter;
use crate::trace::span;

/// Which side of a call is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A call that belongs to a trace, carries metadata, or that somebody wants to know of. What it comes to
/// is told when this is dropped.
pub(crate) struct Watch {
    /// What travels with the call; its trace is the context of what happens in it.
    labels: Option<Arc<Labels>>,
    span: Span,
    #[cfg(feature = "metrics")]
    meter: Option<Meter>,
    /// None of a call that was given up.
    outcome: Option<&'static str>,
}

impl Watch {
    /// Whether anybody may want to know of calls.
    #[inline]
    pub(crate) fn may_be_wanted() -> bool {
        cfg!(feature = "metrics") || span::may_be_wanted()
    }

    /// Watches a call, if it has labels or anybody wants to know of it.
    #[inline]
    pub(crate) fn begin(
        side: Side,
        method: &'static str,
        peer: impl FnOnce() -> Peer,
        labels: Option<Arc<Labels>>,
    ) -> Option<Box<Watch>> {
        if Watch::may_be_wanted() || labels.is_some() {
            Watch::of(side, method, span::may_be_wanted().then(peer), labels)
        } else {
            None
        }
    }

    #[cold]
    fn of(
        side: Side,
        method: &'static str,
        peer: Option<Peer>,
        mut labels: Option<Arc<Labels>>,
    ) -> Option<Box<Watch>> {
        let span = peer.map_or_else(Span::none, |peer| span::of_call(side, method, &peer, &mut labels));
        if cfg!(not(feature = "metrics")) && span.is_disabled() {
            return Watch::carrying(labels);
        }
        Some(Box::new(Watch {
            labels,
            span,
            #[cfg(feature = "metrics")]
            meter: Some(Meter::begin(side, method)),
            outcome: None,
        }))
    }

    /// Takes labels along, and tells nobody.
    pub(crate) fn carrying(labels: Option<Arc<Labels>>) -> Option<Box<Watch>> {
        let labels = Some(labels?);
        Some(Box::new(Watch {
            labels,
            span: Span::none(),
            #[cfg(feature = "metrics")]
            meter: None,
            outcome: None,
        }))
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// What travels with the call.
    pub(crate) fn labels(&self) -> Option<&Arc<Labels>> {
        self.labels.as_ref()
    }

    /// The call is over.
    pub(crate) fn ended(mut self, outcome: &'static str) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let outcome = match self.outcome {
            Some(outcome) => outcome,
            None if std::thread::panicking() => "panicked",
            None => "cancelled",
        };
        self.span.record("outcome", outcome);
        #[cfg(feature = "metrics")]
        if let Some(meter) = &self.meter {
            meter.end(outcome);
        }
    }
}

/// The labels of a call that may be watched.
#[inline]
pub(crate) fn labels_of(watch: &Option<Box<Watch>>) -> Option<&Arc<Labels>> {
    watch.as_ref().and_then(|watch| watch.labels())
}

/// What a call has come to, in a word.
pub(crate) fn word(ended: &Ended) -> &'static str {
    match ended {
        Ok(Outcome::Value) => "value",
        Ok(Outcome::Error) => "error",
        Ok(Outcome::Done) => "done",
        Err(error) => word_of(&**error),
    }
}

/// The same of a call that is known to have failed, or of a method's own error.
pub(crate) fn word_of<E>(error: &CallError<E>) -> &'static str {
    match error {
        CallError::App(_) => "error",
        CallError::Disconnected { .. } => "disconnected",
        CallError::NoHello { .. } => "no_hello",
        CallError::DeadlineExceeded => "deadline_exceeded",
        CallError::Cancelled => "cancelled",
        CallError::Panicked => "panicked",
        CallError::TooLarge { .. } => "too_large",
        CallError::MetadataTooLarge { .. } => "metadata_too_large",
        CallError::Overloaded => "overloaded",
        CallError::UnknownMethod => "unknown_method",
        CallError::Malformed(_) => "malformed",
        CallError::Refused(_) => "refused",
        CallError::Unsupported(_) => "unsupported",
    }
}
