//! What a call is made under.

use std::sync::Arc;

use crate::session::Deadline;
use crate::trace::TraceContext;

/// What a call is made under: until when, and as a part of what.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallTerms {
    pub(crate) deadline: Option<Deadline>,
    pub(crate) trace: Option<Arc<TraceContext>>,
}
