//! Unix: sockets under a private directory, and pipes.
//!
//! Written on rustix rather than on interprocess: interprocess's unnamed pipes
//! are not close-on-exec, its names are abstract sockets on Linux, which have
//! no permissions, and its streams are registered for both directions, which
//! wakes their owner each time the peer reads.

mod child;
mod directory;
mod fifo;
mod half;
mod listener;
mod place;
mod register;
mod sigpipe;
mod stdio;

pub(crate) use child::{Passed, handle_number, pass_to, take_handles, take_read_handle, take_write_handle};
pub(crate) use fifo::{ATOMIC, FifoName, HeldEnd, bind_fifo, open_fifo};
pub(crate) use half::{ReadHalf, WriteHalf};
pub(crate) use listener::{NamedListener, connect};
pub(crate) use place::Place;
pub(crate) use stdio::take_stdio;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Weak;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::peer::Peer;

/// A file descriptor.
pub(crate) type Handle = OwnedFd;

/// An anonymous pipe, close-on-exec from the start.
pub(crate) fn pipe() -> io::Result<(Handle, Handle)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// This process.
pub(crate) fn this_process() -> Peer {
    Peer {
        pid: Some(std::process::id()),
        uid: Some(rustix::process::geteuid().as_raw()),
        gid: Some(rustix::process::getegid().as_raw()),
        connected: Connected::NOTHING,
    }
}

/// The socket that joins this process to a peer, for as long as it is open.
#[derive(Debug, Clone)]
pub(crate) struct Connected(Option<Weak<OwnedFd>>);

impl Connected {
    /// There is none.
    pub(crate) const NOTHING: Connected = Connected(None);
}
