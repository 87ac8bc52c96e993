//! Writing to a pipe without dying of SIGPIPE.
//!
//! A host may have the signal's default action, which ends the process, and it
//! is not for a library to change that.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::ptr;

#[cfg(target_os = "linux")]
use super::refused::OptionalCall;

/// `pwritev2` with `RWF_NOSIGNAL`, since Linux 6.18.
#[cfg(target_os = "linux")]
static WRITE_WITHOUT_SIGNAL: OptionalCall = OptionalCall::new(
    "pwritev2 with RWF_NOSIGNAL",
    "SIGPIPE is blocked around each write to a pipe instead, which takes more system calls",
);

/// Whether the signal does nothing in this process, as of now.
pub(super) fn is_ignored() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without an action to set the call only fills the place for the present one,
    // which is this frame's, and zeroed before: it is initialised whatever the call says.
    let (asked, action) = unsafe {
        let asked = libc::sigaction(libc::SIGPIPE, ptr::null(), action.as_mut_ptr());
        (asked, action.assume_init())
    };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Writes; a pipe that nobody reads is an error and no signal.
pub(super) fn write(fd: BorrowedFd<'_>, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    if WRITE_WITHOUT_SIGNAL.is_available() {
        use rustix::io::{ReadWriteFlags, pwritev2};
        /// rustix has no name for it yet.
        const RWF_NOSIGNAL: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x100);
        // The offset of all ones is the stream's own position.
        match pwritev2(fd, bytes, u64::MAX, RWF_NOSIGNAL) {
            Ok(written) => return Ok(written),
            Err(errno) if !WRITE_WITHOUT_SIGNAL.is_refused_by(errno) => return Err(errno.into()),
            Err(_) => {}
        }
    }
    let blocked = Blocked::new()?;
    let written = rustix::io::writev(fd, bytes);
    if written == Err(rustix::io::Errno::PIPE) {
        blocked.discard_pending();
    }
    Ok(written?)
}

/// SIGPIPE is blocked in this thread while this lives.
struct Blocked {
    before: libc::sigset_t,
    sigpipe: libc::sigset_t,
    was_pending: bool,
}

impl Blocked {
    fn new() -> io::Result<Self> {
        let mut sigpipe = MaybeUninit::uninit();
        let mut pending = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: each pointer is to a sigset_t of this frame, and each set is
        // initialised by sigemptyset, sigpending or pthread_sigmask before it is read.
        unsafe {
            libc::sigemptyset(sigpipe.as_mut_ptr());
            libc::sigaddset(sigpipe.as_mut_ptr(), libc::SIGPIPE);
            libc::sigemptyset(pending.as_mut_ptr());
            libc::sigpending(pending.as_mut_ptr());
            let error = libc::pthread_sigmask(libc::SIG_BLOCK, sigpipe.as_ptr(), before.as_mut_ptr());
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            let was_pending = libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1;
            Ok(Blocked { before: before.assume_init(), sigpipe: sigpipe.assume_init(), was_pending })
        }
    }

    /// Takes back the signal that our own write has raised.
    fn discard_pending(&self) {
        if self.was_pending {
            return;
        }
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the set and the time are initialised and outlive the call; no
        // information about the signal is asked for.
        while unsafe { libc::sigtimedwait(&self.sigpipe, ptr::null_mut(), &now) } == -1 {
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break;
            }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by pthread_sigmask in this thread; `Blocked` is not Send.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_program_of_rusts_ignores_the_signal() {
        assert!(is_ignored());
    }

    #[test]
    fn the_way_without_the_kernels_help_gives_an_error_and_leaves_no_signal() {
        let (read, write_end) = crate::sys::pipe().unwrap();
        drop(read);
        let blocked = Blocked::new().unwrap();
        let written = rustix::io::writev(write_end.as_fd(), &[IoSlice::new(b"x")]);
        assert_eq!(written, Err(rustix::io::Errno::PIPE));
        blocked.discard_pending();
        let mut pending = MaybeUninit::uninit();
        // SAFETY: the set is this frame's own and filled by sigpending.
        let pending = unsafe {
            libc::sigemptyset(pending.as_mut_ptr());
            libc::sigpending(pending.as_mut_ptr());
            libc::sigismember(pending.as_ptr(), libc::SIGPIPE)
        };
        assert_eq!(pending, 0);
    }
}
