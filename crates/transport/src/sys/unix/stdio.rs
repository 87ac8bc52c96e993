//! The process's own standard streams as the two directions of a stream.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Mutex;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdin, dup2_stdout};

use super::{BlockingRead, ReadHalf, WriteHalf};

/// The first number that is no standard stream's.
const FIRST_FREE: i32 = 3;

static TAKEN: Mutex<bool> = Mutex::new(false);

/// Takes the standard input and output away from the rest of the process: what
/// it prints goes to the standard error from here on, what it reads is empty.
pub(crate) fn take_stdio() -> io::Result<(ReadHalf, WriteHalf)> {
    take(|input, output| Ok((ReadHalf::of_any(input)?, WriteHalf::of_any(output)?)))
}

/// The same for threads that wait by themselves.
pub(crate) fn take_stdio_blocking() -> io::Result<(BlockingRead, WriteHalf)> {
    take(|input, output| Ok((BlockingRead::new(input)?, WriteHalf::of_any(output)?)))
}

fn take<T>(put_to_work: impl FnOnce(OwnedFd, OwnedFd) -> io::Result<T>) -> io::Result<T> {
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if *taken {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the standard streams have been taken up before",
        ));
    }
    let (stdin, stdout) = (io::stdin(), io::stdout());
    check(stdin.as_fd(), "input")?;
    check(stdout.as_fd(), "output")?;
    let input = private(fcntl_dupfd_cloexec(&stdin, FIRST_FREE)?, OFlags::RDONLY);
    let output = private(fcntl_dupfd_cloexec(&stdout, FIRST_FREE)?, OFlags::WRONLY);
    let halves = put_to_work(input, output)?;
    let nothing = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let mut printing = stdout.lock();
    dup2_stdout(io::stderr())?;
    dup2_stdin(nothing)?;
    // What was printed and not written yet goes the new way, not in between.
    io::Write::flush(&mut printing)?;
    *taken = true;
    Ok(halves)
}

fn check(stream: impl AsFd, which: &str) -> io::Result<()> {
    match FileType::from_raw_mode(fstat(stream)?.st_mode) {
        FileType::Fifo | FileType::Socket => Ok(()),
        other => {
            let why = format!(
                "the standard {which} is no pipe but {other:?}; this program is to be started by another one, which talks to it over pipes"
            );
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }
}

/// The same pipe through a file description of our own, where the system has a
/// way: a standard stream's is shared with other processes, who would find it
/// non-blocking. Sockets are never made non-blocking.
fn private(fd: OwnedFd, access: OFlags) -> OwnedFd {
    if cfg!(target_os = "linux")
        && fstat(&fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
    {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        if let Ok(own) = open(path, access | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()) {
            return own;
        }
    }
    fd
}
