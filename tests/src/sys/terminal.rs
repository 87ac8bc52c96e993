//! Terminals that belong to a test.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

/// A terminal that nobody sees, and what a user types there.
#[derive(Debug)]
pub struct Terminal {
    /// The side of the user who types.
    user: File,
    /// The side of the programs.
    programs: File,
}

impl Terminal {
    /// A terminal without a session.
    ///
    /// # Panics
    ///
    /// Where the system has none to give.
    pub fn new() -> Terminal {
        let (mut user, mut programs) = (-1, -1);
        // SAFETY: the pointers are to numbers of this frame; the name, the settings and the size
        // may be null.
        let result = unsafe {
            libc::openpty(&mut user, &mut programs, ptr::null_mut(), ptr::null_mut(), ptr::null_mut())
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        for fd in [user, programs] {
            // SAFETY: the descriptor was just opened; a flag of it is set.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        // SAFETY: both were just opened for this, and nothing else owns them.
        unsafe { Terminal { user: File::from_raw_fd(user), programs: File::from_raw_fd(programs) } }
    }

    /// Types something.
    pub fn type_in(&mut self, text: &str) {
        self.user.write_all(text.as_bytes()).expect("a terminal takes a line");
    }

    /// Has the program lead a session of its own, whose terminal this is.
    pub fn control<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let terminal = self.programs.as_raw_fd();
        let lead = move || {
            // SAFETY: the calls change the session of this process and touch no memory; the
            // descriptor is a copy of one that the parent holds until the program runs.
            if unsafe { libc::setsid() < 0 || libc::ioctl(terminal, libc::TIOCSCTTY, 0) < 0 } {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes system calls and no more.
        unsafe { command.pre_exec(lead) }
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Terminal::new()
    }
}
