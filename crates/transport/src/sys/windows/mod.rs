//! Windows: named pipes throughout, by way of tokio.
//!
//! Not on interprocess: its way in is asynchronous where `connect` here must not
//! wait, it writes only from within a task, and what it adds to tokio's pipes, a
//! security descriptor, is the one call in `security.rs`. Anonymous pipes are
//! named ones that nobody else can name, because the system's own cannot be
//! waited for by an event loop.
//!
//! Type-checked, and run under Wine. Wine enforces no pipe's security.

mod blocking;
mod child;
mod fifo;
mod half;
mod identity;
mod listener;
mod open_path;
mod pipe;
mod place;
mod security;
#[cfg(test)]
mod tests;

pub(crate) use blocking::{
    Bell, BlockingRead, BoundListener, Interrupt, Room, connect_blocking, take_handles_blocking,
    take_stdio_blocking, wait,
};
pub(crate) use child::{
    Inheritance, Passed, handle_number, take_handles, take_read_handle, take_write_handle,
};
pub(crate) use fifo::{ATOMIC, FifoName, HeldEnd, bind_fifo, open_fifo};
pub(crate) use half::{ReadHalf, WriteHalf};
pub(crate) use identity::{
    Connected, child_process, may_be_unmapped_group, run_as, this_process, this_user, user_name,
};
pub(crate) use listener::{NamedListener, RetiredListener, connect};
pub(crate) use open_path::open_path;
pub(crate) use pipe::pipe;
pub(crate) use place::Place;

use std::io;
use std::os::windows::io::OwnedHandle;

/// An open pipe.
pub(crate) type Handle = OwnedHandle;

/// Whether this thread may run on but one processor: not asked, nobody would act on it.
pub(crate) fn is_single() -> bool {
    false
}

/// Gives memory that this thread has freed back to the system: the system's own heap does so.
pub(crate) fn give_back_free_memory() {}

/// Lets others run that wait for this processor.
pub(crate) fn let_others_run() {
    std::thread::yield_now();
}

/// The standard streams cannot be waited for: they are not opened for it.
pub(crate) fn take_stdio() -> io::Result<(ReadHalf, WriteHalf)> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "the standard streams as a transport are not there on Windows; start the program with pipes of its own",
    ))
}
