//! Descriptors in the event loop.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, RuntimeFlavor};

/// A descriptor that the event loop watches.
pub(super) type Watched = AsyncFd<Arc<OwnedFd>>;

/// Has the event loop watch a descriptor.
pub(super) fn watch(fd: Arc<OwnedFd>, interest: Interest) -> io::Result<Watched> {
    // SAFETY: the descriptor is open, and the Arc that goes into the AsyncFd
    // keeps it open, and the same, as long as it is registered.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// The watch over a descriptor that is read.
#[derive(Debug)]
pub(super) enum Watch {
    /// It begins with the first wait, in the event loop of this runtime: a connection that
    /// is read in time each time costs the event loop nothing.
    Later(Handle),
    Begun(Watched),
}

impl Watch {
    /// Has the event loop of this runtime watch a descriptor: as soon as somebody waits, or
    /// at once where it has many threads. One of those waits for events, and would be woken
    /// by what is registered after something has come.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(super) fn new(fd: &Arc<OwnedFd>) -> io::Result<Self> {
        let runtime = Handle::current();
        match runtime.runtime_flavor() {
            RuntimeFlavor::CurrentThread => Ok(Watch::Later(runtime)),
            _ => Watch::begin(fd),
        }
    }

    pub(super) fn begin(fd: &Arc<OwnedFd>) -> io::Result<Self> {
        watch(Arc::clone(fd), Interest::READABLE).map(Watch::Begun)
    }

    #[inline]
    pub(super) fn has_begun(&self) -> bool {
        matches!(self, Watch::Begun(_))
    }

    /// Watches `fd` from now on, unless that has begun.
    #[inline]
    pub(super) fn over(&mut self, fd: &Arc<OwnedFd>) -> io::Result<&Watched> {
        match *self {
            Watch::Begun(ref watched) => Ok(watched),
            Watch::Later(_) => self.begin_now(fd),
        }
    }

    #[cold]
    fn begin_now(&mut self, fd: &Arc<OwnedFd>) -> io::Result<&Watched> {
        if let Watch::Later(runtime) = self {
            let entered = runtime.enter();
            let begun = Watch::begin(fd)?;
            drop(entered);
            *self = begun;
        }
        self.over(fd)
    }
}
