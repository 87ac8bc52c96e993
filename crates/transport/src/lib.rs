//! panpipe-transport.
