//! Descriptors at which threads wait by themselves, without an event loop.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{PipeFlags, pipe_with};

use super::half::{Kind, kind};
use super::listener::{BoundName, accept_socket, bind_socket, retire};
use super::{Place, RetiredListener, WriteHalf};
use crate::access::Reach;
use crate::blocking::Ready;
use crate::error::BindError;
use crate::peer::Peer;

/// The direction that is read, by a thread that waits in the read itself.
#[derive(Debug)]
pub(crate) struct BlockingRead {
    fd: Arc<OwnedFd>,
    kind: Kind,
}

/// Both directions of a socket. Reading waits; writing says each time that it does not.
pub(super) fn of_socket(fd: Arc<OwnedFd>) -> io::Result<(BlockingRead, WriteHalf)> {
    set_blocking(&fd)?;
    let read = BlockingRead { fd: Arc::clone(&fd), kind: Kind::Socket };
    Ok((read, WriteHalf::of_socket(fd)))
}

/// Puts a descriptor of either kind to work, for both directions.
pub(super) fn of_any(fd: OwnedFd) -> io::Result<(BlockingRead, WriteHalf)> {
    let other = fd.try_clone()?;
    Ok((BlockingRead::new(fd)?, WriteHalf::of_any(other)?))
}

impl BlockingRead {
    /// Puts a pipe's reading end, or a socket, to work. The two ends of a pipe do not
    /// share whether they wait: the other one is left as it is.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        set_blocking(&fd)?;
        Ok(BlockingRead { kind: kind(&fd)?, fd: Arc::new(fd) })
    }

    /// Waits for bytes; none at the end of the stream.
    #[inline]
    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.fd, &mut *bytes) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// What ends a wait in `read`, from any thread.
    pub(crate) fn interrupt(&self) -> Option<Interrupt> {
        (self.kind == Kind::Socket).then(|| Interrupt(Arc::clone(&self.fd)))
    }
}

/// Ends the reading direction of a socket.
#[derive(Debug)]
pub(crate) struct Interrupt(Arc<OwnedFd>);

impl Interrupt {
    /// Whoever reads finds the end of the stream behind what has come.
    pub(crate) fn end_reading(&self) {
        let _ = shutdown(&*self.0, Shutdown::Read);
    }
}

/// The descriptor that has to have room for a write.
#[derive(Debug)]
pub(crate) struct Room(Arc<OwnedFd>);

impl WriteHalf {
    /// The writing direction of threads.
    pub(crate) fn of_threads(self) -> Self {
        self.trusting_sigpipe()
    }

    /// What to wait at until something can be written; nothing once it was shut down.
    pub(crate) fn room(&self) -> Option<Room> {
        self.descriptor().map(|fd| Room(Arc::clone(fd)))
    }
}

/// Ends the wait of a thread.
#[derive(Debug)]
pub(crate) struct Bell {
    heard: OwnedFd,
    rung: OwnedFd,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let (heard, rung) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Bell { heard, rung })
    }

    /// Safe in a signal handler: it is one system call. A bell that is full has been
    /// rung.
    pub(crate) fn ring(&self) {
        let _ = rustix::io::write(&self.rung, &[1]);
    }

    /// It has been heard.
    pub(crate) fn silence(&self) {
        while rustix::io::read(&self.heard, &mut [0; 64]).is_ok_and(|n| n == 64) {}
    }
}

/// Waits until one of these is ready; until one may be, where a signal comes.
pub(crate) fn wait(
    read: Option<&BlockingRead>,
    write: Option<&Room>,
    bell: Option<&Bell>,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    wait_at(read.map(|read| &*read.fd), write, bell, timeout)
}

fn wait_at(
    read: Option<&OwnedFd>,
    write: Option<&Room>,
    bell: Option<&Bell>,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    // A time that the system cannot say is all the time there is.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let anything = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
    let mut watched = Vec::with_capacity(3);
    watched.extend(read.map(|fd| PollFd::new(fd, PollFlags::IN)));
    watched.extend(write.map(|room| PollFd::new(&*room.0, PollFlags::OUT)));
    watched.extend(bell.map(|bell| PollFd::new(&bell.heard, PollFlags::IN)));
    match poll(&mut watched, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Ready::default()),
        Err(other) => return Err(other.into()),
    }
    let mut events = watched.iter().map(PollFd::revents);
    let mut next = |is_watched: bool| match is_watched {
        true => events.next().unwrap_or(PollFlags::empty()),
        false => PollFlags::empty(),
    };
    let (reads, writes, rung) = (next(read.is_some()), next(write.is_some()), next(bell.is_some()));
    if let Some(bell) = bell.filter(|_| !rung.is_empty()) {
        bell.silence();
    }
    Ok(Ready { readable: reads.intersects(anything), writable: !writes.is_empty(), rung: !rung.is_empty() })
}

/// A socket that listens, and the name that it has.
#[derive(Debug)]
pub(crate) struct BoundListener {
    /// Given up before the socket is, as that of a `NamedListener`.
    name: Option<BoundName>,
    socket: Arc<OwnedFd>,
}

impl BoundListener {
    pub(crate) fn bind(place: &Place, reach: Reach) -> Result<Self, BindError> {
        let (name, socket) = bind_socket(place, reach)?;
        Ok(BoundListener { name, socket: Arc::new(socket) })
    }

    /// Waits for a client; none when the bell has rung, or a signal has come, before one
    /// came.
    pub(crate) fn accept(
        &self,
        bell: &Bell,
        timeout: Option<Duration>,
    ) -> io::Result<Option<(BlockingRead, WriteHalf, Peer)>> {
        let ready = wait_at(Some(&self.socket), None, Some(bell), timeout)?;
        if ready.rung || !ready.readable {
            return Ok(None);
        }
        let Some((socket, peer)) = accept_socket(&self.socket)? else { return Ok(None) };
        let (read, write) = of_socket(socket)?;
        Ok(Some((read, write, peer)))
    }

    /// Frees the name. Who waits to be accepted can be still.
    pub(crate) fn retire(self) -> RetiredListener {
        retire(self.name, &self.socket)
    }
}

fn set_blocking(fd: &impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    if flags.contains(OFlags::NONBLOCK) {
        fcntl_setfl(fd, flags - OFlags::NONBLOCK)?;
    }
    Ok(())
}
