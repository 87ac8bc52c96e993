//! Processes as only system calls can make them.

use std::io;
use std::mem;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::ptr;
use std::thread;

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

/// A process with a number of the test's choice, which leads a group and does nothing.
#[derive(Debug)]
pub struct Stranger(OwnedFd);

impl Stranger {
    /// Makes a process with this number, which has to be free. Only root can.
    pub fn with_pid(pid: u32) -> io::Result<Stranger> {
        let numbers = [pid as libc::pid_t];
        let mut pidfd: libc::c_int = -1;
        // SAFETY: all zeros are a valid value of the plain struct.
        let mut args: libc::clone_args = unsafe { mem::zeroed() };
        args.flags = libc::CLONE_PIDFD as u64;
        args.pidfd = ptr::from_mut(&mut pidfd) as u64;
        args.exit_signal = libc::SIGCHLD as u64;
        args.set_tid = numbers.as_ptr() as u64;
        args.set_tid_size = 1;
        // SAFETY: the arguments are of this size and outlive the call. The child has a copy of
        // this thread alone, and makes system calls only.
        match unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, mem::size_of_val(&args)) } {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: the calls touch no memory.
            0 => unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                loop {
                    libc::pause();
                }
            },
            child => {
                // SAFETY: the call touches no memory; the child has not been reaped.
                unsafe { libc::setpgid(child as libc::pid_t, child as libc::pid_t) };
                // SAFETY: the kernel has just opened it, and nothing else owns it.
                Ok(Stranger(unsafe { OwnedFd::from_raw_fd(pidfd) }))
            }
        }
    }

    /// Ends it; whether nobody else has sent it a signal before. A signal that ends a process
    /// takes effect when it is sent, and a later one does not replace it.
    #[must_use]
    pub fn was_left_alone(self) -> bool {
        let _ = pidfd_send_signal(&self.0, Signal::USR1);
        let ended = waitid(WaitId::PidFd(self.0.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let ended = ended.expect("it is a child of this process").expect("it has ended");
        ended.terminating_signal() == Some(Signal::USR1.as_raw())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.0.as_fd()), WaitIdOptions::EXITED);
    }
}

/// Runs `child` in a fork of this process, without exec; gives the exit code of the fork.
pub fn fork_without_exec(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child has a copy of this thread alone. What it runs takes no lock that
    // another thread of this process may hold.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", io::Error::last_os_error()),
        0 => {
            // SAFETY: the call touches no memory.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
            // SAFETY: it ends the process, and runs nothing of this one's at exit.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: the pointer is to a number of this frame.
            let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
            assert_eq!(waited, pid, "{}", io::Error::last_os_error());
            libc::WEXITSTATUS(status)
        }
    }
}

/// Has the kernel reap the children of this process.
pub fn ignore_sigchld() {
    // SAFETY: SIG_IGN is a valid disposition.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    assert_ne!(before, libc::SIG_ERR);
}

/// Starts a thread that reaps every child of this process, as careless code does.
pub fn reap_everything() {
    thread::spawn(|| {
        loop {
            // SAFETY: the status may be null.
            if unsafe { libc::waitpid(-1, ptr::null_mut(), 0) } < 0 {
                // There is no child now.
                thread::yield_now();
            }
        }
    });
}

/// Has the plugin make itself the leader of a session, as a daemon does.
pub fn with_session(builder: panpipe::PluginBuilder) -> panpipe::PluginBuilder {
    let lead = || {
        // SAFETY: the call touches no memory.
        if unsafe { libc::setsid() } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the hook makes one system call and allocates nothing.
    unsafe { builder.before_exec(lead) }
}

/// Has `command` run where there is no `/dev/null`. Only root can.
pub fn without_dev(command: &mut Command) -> &mut Command {
    let hide = || {
        let none = ptr::null();
        // SAFETY: the texts end with a zero, and the calls change mounts of the child alone,
        // which has left the parent's namespace.
        let failed = unsafe {
            libc::unshare(libc::CLONE_NEWNS) != 0
                || libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()) != 0
                || libc::mount(c"none".as_ptr(), c"/dev".as_ptr(), c"tmpfs".as_ptr(), 0, none.cast()) != 0
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure makes system calls and no more.
    unsafe { command.pre_exec(hide) }
}
