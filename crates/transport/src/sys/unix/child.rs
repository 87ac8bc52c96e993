//! How a child gets the ends of pipes, and takes them up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, fstat};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use super::half::of_any;
use super::{BlockingRead, Handle, ReadHalf, WriteHalf};

/// The handle as its child knows it: a descriptor keeps its number.
pub(crate) fn handle_number(handle: &Handle) -> String {
    handle.as_raw_fd().to_string()
}

/// Lets the children that a command starts, and no others, keep descriptors.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// The numbers of those that the next child keeps.
    numbers: Arc<[AtomicI32; MOST]>,
}

/// Descriptors that are kept for a child, and closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Passed {
    _handles: Vec<Handle>,
    numbers: Arc<[AtomicI32; MOST]>,
}

/// The most that a child gets: one for each direction.
const MOST: usize = 2;
/// Stands for a descriptor that has been closed, or has not been passed yet.
const CLOSED: RawFd = -1;
/// Stands for one that is not needed.
const NONE: RawFd = -2;

impl Inheritance {
    pub(crate) fn of(command: &mut Command) -> Self {
        let numbers = Arc::new([const { AtomicI32::new(CLOSED) }; MOST]);
        let inherited = Arc::clone(&numbers);
        let inherit = move || {
            for number in &*inherited {
                match number.load(Ordering::SeqCst) {
                    NONE => {}
                    CLOSED => return Err(rustix::io::Errno::BADF.into()),
                    number => {
                        // SAFETY: `Passed` has the descriptor open as long as its number
                        // is here; the fork has copied both.
                        let handle = unsafe { BorrowedFd::borrow_raw(number) };
                        // After the fork, so that it is the child's flag alone that is cleared.
                        fcntl_setfd(handle, FdFlags::empty())?;
                    }
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure loads numbers and makes fcntl
        // calls; it allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(inherit);
        }
        Inheritance { numbers }
    }

    pub(crate) fn pass(&self, handles: Vec<Handle>) -> io::Result<Passed> {
        for (index, number) in self.numbers.iter().enumerate() {
            number.store(handles.get(index).map_or(NONE, AsRawFd::as_raw_fd), Ordering::SeqCst);
        }
        Ok(Passed { _handles: handles, numbers: Arc::clone(&self.numbers) })
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        self.numbers.iter().for_each(|number| number.store(CLOSED, Ordering::SeqCst));
    }
}

/// Held from looking at a descriptor to owning it.
static TAKING: Mutex<()> = Mutex::new(());

/// Takes up `"READ,WRITE"`, or one descriptor that is both.
pub(crate) fn take_handles(handles: &str) -> io::Result<(ReadHalf, WriteHalf)> {
    match handles.split_once(',') {
        Some((read, write)) if read != write => {
            // Both are looked at before one is taken.
            let (read, write) = (parse(read)?, parse(write)?);
            look(read)?;
            look(write)?;
            Ok((ReadHalf::of_any(take(read)?)?, WriteHalf::of_any(take(write)?)?))
        }
        Some((both, _)) => take_both(both),
        None => take_both(handles),
    }
}

/// The same for threads that wait by themselves.
pub(crate) fn take_handles_blocking(handles: &str) -> io::Result<(BlockingRead, WriteHalf)> {
    match handles.split_once(',') {
        Some((read, write)) if read != write => {
            let (read, write) = (parse(read)?, parse(write)?);
            look(read)?;
            look(write)?;
            Ok((BlockingRead::new(take(read)?)?, WriteHalf::of_any(take(write)?)?))
        }
        Some((both, _)) => super::blocking::of_any(take(parse(both)?)?),
        None => super::blocking::of_any(take(parse(handles)?)?),
    }
}

fn take_both(handle: &str) -> io::Result<(ReadHalf, WriteHalf)> {
    of_any(take(parse(handle)?)?)
}

/// Takes up a descriptor to read.
pub(crate) fn take_read_handle(handle: &str) -> io::Result<ReadHalf> {
    ReadHalf::of_any(take(parse(handle)?)?)
}

/// Takes up a descriptor to write.
pub(crate) fn take_write_handle(handle: &str) -> io::Result<WriteHalf> {
    WriteHalf::of_any(take(parse(handle)?)?)
}

fn parse(handle: &str) -> io::Result<RawFd> {
    let decimal = !handle.is_empty() && handle.bytes().all(|byte| byte.is_ascii_digit());
    let number = handle.parse().ok().filter(|_| decimal);
    match number {
        Some(0..=2) => Err(invalid(format!("{handle} is a standard stream; take those up as `stdio`"))),
        Some(fd) => Ok(fd),
        None => Err(invalid(format!("{handle:?} is not the number of a file descriptor"))),
    }
}

/// Whether the descriptor is one that a parent has passed on.
fn look(fd: RawFd) -> io::Result<()> {
    // SAFETY: the borrow ends with this function. If the number is no open
    // descriptor the calls fail with EBADF and do nothing else.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let stat = fstat(borrowed).map_err(|error| {
        invalid(format!("the file descriptor {fd} is not open: {}", io::Error::from(error)))
    })?;
    // A handle that a parent has passed on is the only kind that is inheritable:
    // what this process opened itself is close-on-exec, what was taken up too.
    if fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC) {
        return Err(invalid(format!(
            "the file descriptor {fd} was taken up before, or is of this process's own making"
        )));
    }
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo | FileType::Socket => Ok(()),
        _ => Err(invalid(format!("the file descriptor {fd} is neither a pipe nor a socket"))),
    }
}

fn take(fd: RawFd) -> io::Result<OwnedFd> {
    let _alone = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    look(fd)?;
    // SAFETY: it is open and was inherited, as was just seen: the parent passed
    // it to this process to be owned by whoever takes it up. From here on it is
    // close-on-exec, and so looks taken to everybody else.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl_setfd(owned.as_fd(), FdFlags::CLOEXEC)?;
    Ok(owned)
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
