//! panpipe.
