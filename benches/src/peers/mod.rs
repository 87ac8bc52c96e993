//! Those who do the work.

pub mod panpipe;
pub mod raw;
pub mod remoc;
pub mod tarpc;
