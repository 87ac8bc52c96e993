//! What host and plugin agree upon.

/// A formatter of source code.
#[panpipe::service]
pub trait Formatter {
    /// The source, formatted.
    async fn format(&self, source: String) -> String;
}

/// The environment variable by which they know each other.
pub const COOKIE: &str = "FORMATTER_PLUGIN";
