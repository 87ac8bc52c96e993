//! Those who do the work.

pub mod panpipe;
pub mod panpipe_blocking;
pub mod raw;
pub mod remoc;
pub mod tarpc;
