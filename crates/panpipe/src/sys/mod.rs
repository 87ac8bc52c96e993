//! What a server needs of the system that differs from one to the other.
//!
//! Each gives `told_to_end()`: ready when the process is told to end; `ready()` and
//! `stopping()`: what the service manager is told, if there is one.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::{ready, stopping, told_to_end};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::{ready, stopping, told_to_end};
