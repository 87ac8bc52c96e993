//! The `#[panpipe::service]` attribute.
