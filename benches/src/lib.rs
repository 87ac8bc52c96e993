//! The same work done by panpipe, by its peers and on the bare kernel, always
//! between two processes.
//!
//! `cargo bench -p panpipe-benches` runs all of it and prints one table.

pub mod job;
pub mod peers;
pub mod setting;
pub mod spawn;
pub mod stats;
pub mod work;
