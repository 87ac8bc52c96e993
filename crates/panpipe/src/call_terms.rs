//! What a call is made under.

use std::sync::Arc;
use std::time::Instant;

use crate::labels::Labels;

/// What a call is made under: until when, and as a part of what.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallTerms {
    /// By the caller's clock, [`clock::now`](crate::clock::now).
    pub(crate) deadline: Option<Instant>,
    pub(crate) labels: Option<Arc<Labels>>,
}
