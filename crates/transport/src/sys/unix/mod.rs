//! Unix: sockets under directories of the user's own, and pipes.
//!
//! Written on rustix rather than on interprocess: interprocess's unnamed pipes
//! are not close-on-exec, its names are abstract sockets on Linux, which have
//! no permissions, and its streams are registered for both directions, which
//! wakes their owner each time the peer reads.

mod activation;
mod blocking;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "no_bypass.rs")]
mod bypass;
mod child;
mod directory;
mod fifo;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "no_gate.rs")]
mod gate;
mod half;
#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod hand_over;
mod held;
mod id_map;
mod identity;
mod impersonate;
mod interrupt;
mod listener;
mod lock;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "no_loss.rs")]
mod loss;
mod memory;
mod open_path;
mod place;
mod processor;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    allow(dead_code, reason = "the optional system calls, whose refusals it recognises, are Linux's")
)]
mod refused;
mod register;
mod rights;
mod sigpipe;
mod stdio;

pub(crate) use blocking::{Bell, BlockingRead, BoundListener, Room, wait};
pub(crate) use child::{
    Inheritance, Passed, handle_number, take_handles, take_handles_blocking, take_read_handle,
    take_write_handle,
};
pub(crate) use fifo::{ATOMIC, FifoName, HeldEnd, bind_fifo, open_fifo};
pub(crate) use half::{ReadHalf, WriteHalf};
pub(crate) use id_map::may_be_unmapped_group;
pub(crate) use identity::{Connected, child_process, this_process, this_user, user_name};
pub(crate) use impersonate::{Credentials, run_as};
pub(crate) use interrupt::Interrupt;
pub(crate) use listener::{NamedListener, RetiredListener, connect, connect_blocking};
pub(crate) use memory::give_back_free_memory;
pub(crate) use open_path::open_path;
pub(crate) use place::Place;
pub(crate) use processor::{is_single, let_others_run};
pub(crate) use stdio::{take_stdio, take_stdio_blocking};

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};

/// A file descriptor.
pub(crate) type Handle = OwnedFd;

/// An anonymous pipe, close-on-exec from the start.
pub(crate) fn pipe() -> io::Result<(Handle, Handle)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}
