//! What panpipe promises under fault, load and bad input, each promise with its
//! figure. Hostile peers are raw bytes on real pipes, servers are processes.
//!
//! The ordinary run repeats less and bounds times against hangs only;
//! `PANPIPE_PROOFS=full cargo test -p panpipe-tests --release --test proofs -- --test-threads=1`
//! does all repetitions and holds every figure.

#![allow(clippy::unwrap_used)]

#[path = "../common.rs"]
mod common;

mod cancel_storm;
mod chaos;
mod claims;
mod codec_bombs;
mod deadlines_off_the_wire;
mod denied_calls;
mod doors;
mod dropped_futures;
mod end_of_main;
mod endings;
mod fair_shares;
mod few_descriptors;
mod full_pipes;
mod impersonation;
mod killed_clients;
mod killed_servers;
mod malformed_frames;
mod many_clients;
mod mutating_proxy;
mod names_and_races;
mod never_reads;
mod panics;
mod passed_descriptors;
mod plugins;
mod reentry;
mod rolling_restart;
mod sigpipe;
mod slow_hellos;
mod slow_readers;
mod strangers;
mod stream_faults;
mod stream_storms;
mod truncation;
