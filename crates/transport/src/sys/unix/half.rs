//! The two directions of a socket or of two pipes, at work in the event loop.
//!
//! Each descriptor is registered for reading alone. Writing is tried straight
//! away; only while a write has to wait is a second descriptor of the same pipe
//! registered for writing. One that is registered for both would wake its owner
//! each time the peer reads.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::io::{Interest, ReadBuf};

use super::register::{Watched, watch};
use super::sigpipe;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Socket,
    Pipe,
}

/// The direction that is read.
#[derive(Debug)]
pub(crate) struct ReadHalf {
    fd: Watched,
    kind: Kind,
}

/// The direction that is written.
#[derive(Debug)]
pub(crate) struct WriteHalf {
    /// `None` once a pipe has been shut down.
    fd: Option<Arc<OwnedFd>>,
    kind: Kind,
    /// Registered while a write waits.
    waiting: Option<Watched>,
}

/// Both directions of a socket.
pub(super) fn of_socket(socket: OwnedFd) -> io::Result<(ReadHalf, WriteHalf)> {
    let fd = Arc::new(socket);
    let read = ReadHalf { fd: watch(Arc::clone(&fd), Interest::READABLE)?, kind: Kind::Socket };
    Ok((read, WriteHalf { fd: Some(fd), kind: Kind::Socket, waiting: None }))
}

impl ReadHalf {
    /// Puts the reading end of a pipe to work.
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&pipe)?;
        Ok(ReadHalf { fd: watch(Arc::new(pipe), Interest::READABLE)?, kind: Kind::Pipe })
    }

    /// Puts a pipe or a socket to work that others may have too.
    pub(super) fn of_any(fd: OwnedFd) -> io::Result<Self> {
        match kind(&fd)? {
            Kind::Pipe => ReadHalf::new(fd),
            kind => Ok(ReadHalf { fd: watch(Arc::new(fd), Interest::READABLE)?, kind }),
        }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.fd.poll_read_ready(cx))?;
            let space = buf.initialize_unfilled();
            let wanted = space.len();
            let read = match self.kind {
                Kind::Socket => recv(ready.get_inner(), space, RecvFlags::DONTWAIT).map(|(n, _)| n),
                Kind::Pipe => rustix::io::read(ready.get_inner(), space),
            };
            match read {
                Ok(n) => {
                    // A short read has emptied the pipe: the next word comes from the event loop.
                    if n > 0 && n < wanted {
                        ready.clear_ready();
                    }
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(other) => return Poll::Ready(Err(other.into())),
            }
        }
    }
}

impl WriteHalf {
    /// Puts the writing end of a pipe to work.
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&pipe)?;
        Ok(WriteHalf { fd: Some(Arc::new(pipe)), kind: Kind::Pipe, waiting: None })
    }

    /// Puts a pipe or a socket to work that others may have too.
    pub(super) fn of_any(fd: OwnedFd) -> io::Result<Self> {
        match kind(&fd)? {
            Kind::Pipe => WriteHalf::new(fd),
            kind => Ok(WriteHalf { fd: Some(Arc::new(fd)), kind, waiting: None }),
        }
    }

    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fd = self.fd.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        loop {
            let written = match self.kind {
                Kind::Socket => {
                    send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map_err(io::Error::from)
                }
                Kind::Pipe => sigpipe::write(fd.as_fd(), &[IoSlice::new(bytes)]),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_write(bytes) {
                Ok(n) => {
                    if n == bytes.len() {
                        self.waiting = None;
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            let waiting = match &mut self.waiting {
                Some(waiting) => waiting,
                none => {
                    let fd = self.fd.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
                    none.insert(watch(Arc::new(fd.try_clone()?), Interest::WRITABLE)?)
                }
            };
            ready!(waiting.poll_write_ready(cx))?.clear_ready();
        }
    }

    /// What was written the system has.
    pub(crate) fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The other side reads the end of the stream from here on.
    pub(crate) fn shut_down(&mut self) -> io::Result<()> {
        self.waiting = None;
        match (self.kind, &self.fd) {
            (Kind::Socket, Some(fd)) => match shutdown(fd, Shutdown::Write) {
                // The other side was quicker.
                Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
                Err(other) => Err(other.into()),
            },
            _ => {
                self.fd = None;
                Ok(())
            }
        }
    }
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    Ok(fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

/// Puts a descriptor of either kind to work, for both directions.
pub(super) fn of_any(fd: OwnedFd) -> io::Result<(ReadHalf, WriteHalf)> {
    let other = fd.try_clone()?;
    Ok((ReadHalf::of_any(fd)?, WriteHalf::of_any(other)?))
}

fn kind(fd: &OwnedFd) -> io::Result<Kind> {
    match FileType::from_raw_mode(fstat(fd)?.st_mode) {
        FileType::Socket => Ok(Kind::Socket),
        _ => Ok(Kind::Pipe),
    }
}
