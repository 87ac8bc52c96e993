//! An end that the event loop watches.

use std::io;

use rustix::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers an end for one kind of events.
pub(in crate::floors) fn watch(end: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the end is owned by what is made here, open and the same until it is
    // dropped, which ends the registration first.
    Ok(unsafe { AsyncFd::register_with_interest(end, interest) }?)
}
