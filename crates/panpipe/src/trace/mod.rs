//! Traces: which calls of which processes belong together.

mod context;
#[cfg(feature = "opentelemetry")]
mod opentelemetry;
pub(crate) mod span;

pub use self::context::TraceContext;
