//! Descriptors in the event loop.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that the event loop watches.
pub(super) type Watched = AsyncFd<Arc<OwnedFd>>;

/// Has the event loop watch a descriptor.
pub(super) fn watch(fd: Arc<OwnedFd>, interest: Interest) -> io::Result<Watched> {
    // SAFETY: the descriptor is open, and the Arc that goes into the AsyncFd
    // keeps it open, and the same, as long as it is registered.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
