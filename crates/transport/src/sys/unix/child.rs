//! How a child gets the ends of pipes, and takes them up.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FileType, fstat};
use rustix::io::{FdFlags, fcntl_setfd};

use super::half::of_any;
use super::{Handle, ReadHalf, WriteHalf};

/// The handle as its child knows it: a descriptor keeps its number.
pub(crate) fn handle_number(handle: &Handle) -> String {
    handle.as_raw_fd().to_string()
}

/// Lets the child that `command` starts, and no other, keep the handles.
pub(crate) fn pass_to(handles: Vec<Handle>, command: &mut Command) {
    let inherit = move || {
        for handle in &handles {
            // After the fork, so that it is the child's flag alone that is cleared.
            fcntl_setfd(handle, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes fcntl calls, on
    // descriptors that it owns and that the fork has copied.
    unsafe {
        command.pre_exec(inherit);
    }
}

/// Descriptors that were taken up by this process.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Takes up `"READ,WRITE"`, or one descriptor that is both.
pub(crate) fn take_handles(handles: &str) -> io::Result<(ReadHalf, WriteHalf)> {
    match handles.split_once(',') {
        Some((read, write)) if read != write => {
            // Both are looked at before one is taken.
            let (read, write) = (parse(read)?, parse(write)?);
            look(read)?;
            look(write)?;
            let ((read, _), (write, _)) = (take(read)?, take(write)?);
            Ok((ReadHalf::new(read)?, WriteHalf::new(write)?))
        }
        Some((both, _)) => take_both(both),
        None => take_both(handles),
    }
}

fn take_both(handle: &str) -> io::Result<(ReadHalf, WriteHalf)> {
    let (fd, is_socket) = take(parse(handle)?)?;
    of_any(fd, is_socket)
}

/// Takes up a descriptor to read.
pub(crate) fn take_read_handle(handle: &str) -> io::Result<ReadHalf> {
    let (fd, _) = take(parse(handle)?)?;
    ReadHalf::new(fd)
}

/// Takes up a descriptor to write.
pub(crate) fn take_write_handle(handle: &str) -> io::Result<WriteHalf> {
    let (fd, _) = take(parse(handle)?)?;
    WriteHalf::new(fd)
}

fn parse(handle: &str) -> io::Result<RawFd> {
    let decimal = !handle.is_empty() && handle.bytes().all(|byte| byte.is_ascii_digit());
    let number = handle.parse().ok().filter(|_| decimal);
    number.ok_or_else(|| invalid(format!("{handle:?} is not the number of a file descriptor")))
}

/// Whether the descriptor is open and a pipe or socket; true for a socket.
fn look(fd: RawFd) -> io::Result<bool> {
    // SAFETY: the borrow ends with this function. If the number is no open
    // descriptor the calls fail with EBADF and do nothing else.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let stat = fstat(borrowed).map_err(|error| invalid(format!("the file descriptor {fd} is not open: {}", io::Error::from(error))))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => Ok(false),
        FileType::Socket => Ok(true),
        _ => Err(invalid(format!("the file descriptor {fd} is neither a pipe nor a socket"))),
    }
}

fn take(fd: RawFd) -> io::Result<(OwnedFd, bool)> {
    let is_socket = look(fd)?;
    if !TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(fd) {
        return Err(invalid(format!("the file descriptor {fd} was taken up before")));
    }
    // SAFETY: it is open, as was just seen, and the parent passed it to this
    // process to be owned by whoever takes it up; `TAKEN` sees to it that there
    // is one owner.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    // Children of this process are not to have it.
    fcntl_setfd(owned.as_fd(), FdFlags::CLOEXEC)?;
    Ok((owned, is_socket))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
