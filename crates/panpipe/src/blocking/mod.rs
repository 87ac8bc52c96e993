//! Connections without a runtime: the threads that wait for something read, write and
//! drive the connection themselves.
//!
//! The engine is the same: the session's driver stays a future, and the only one that
//! moves bytes. What is here is who polls it. One thread at a time leads: it polls the
//! driver, and waits for bytes in the read itself. The others wait for their replies, or
//! for the lead. See `crew.rs`.

mod child;
mod client;
mod crew;
mod helper;
#[cfg(test)]
mod model;
mod parker;
mod waiting;

pub use self::child::{BlockingChild, serve_parent_blocking};
pub use self::client::BlockingServiceClient;
pub(crate) use self::crew::Crew;
pub(crate) use self::parker::is_of_this_thread;
pub(crate) use self::waiting::{Within, block_on, by_others_too, wait_for};
