//! What servers and hosts need of the system that differs from one to the other.
//! Nothing outside this folder is unsafe or asks which system it is on.
//!
//! Each system gives:
//! - `EndSignals`: what tells the process to end; `ready()` and `stopping()`: what the
//!   service manager is told, if there is one;
//! - `Confinement`: what a plugin's process is held to; `spawn(…)`: starts it where it
//!   dies with this process;
//! - `WatchedChild`: a child, which can be waited for, told to end, and killed, a plugin's with
//!   its own children; `ChildProcess`: a child without a runtime;
//! - `on_told_to_end(…)`: the same as `EndSignals` without a runtime;
//! - `is_executable(…)`, `file_identity(…)`, `check_null_device()`.

use std::sync::{Mutex, PoisonError};

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;

/// The status of a child is lost: other code of this process has reaped it.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "exit status unknown: other code of this process reaped the child; do not ignore SIGCHLD, and wait for your own children by their pids instead of waitpid(-1)"
)]
pub(crate) struct StatusUnknown;

impl StatusUnknown {
    /// Whether this is why a child could not be waited for.
    pub(crate) fn is_in(error: &std::io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<StatusUnknown>())
    }
}

impl From<StatusUnknown> for std::io::Error {
    fn from(unknown: StatusUnknown) -> Self {
        std::io::Error::other(unknown)
    }
}

/// How many servers of this process run.
static SERVERS: Mutex<usize> = Mutex::new(0);

/// A server that the service manager knows of: told that clients can come when it is made,
/// and that the service stops when the last one of the process is dropped.
#[derive(Debug)]
pub(crate) struct Announced(());

impl Announced {
    pub(crate) fn ready() -> Self {
        // Under the lock, so that the manager learns of both in their order.
        let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        *servers += 1;
        ready();
        Announced(())
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        *servers -= 1;
        if *servers == 0 {
            stopping();
        }
    }
}
