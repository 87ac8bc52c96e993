//! The same work done by panpipe, by its peers and on the bare kernel, always
//! between two processes.
//!
//! `cargo bench -p panpipe-benches` runs all of it; see `benches/measure` for what
//! can be chosen. The peers are a package of their own, `benches/peers`, which nobody
//! builds who does not measure them.

pub mod blocking_work;
pub mod floors;
pub mod job;
pub mod memory;
pub mod panpipe;
pub mod panpipe_blocking;
pub mod peer;
pub mod results;
pub mod setting;
pub mod spawn;
pub mod stats;
pub mod tables;
pub mod work;
