//! A process that this one has started: its end, signals to it, and reaping.
//!
//! Other code of this process may reap the child: a thread that calls `waitpid(-1)`, or the
//! kernel where SIGCHLD is ignored. From then on the child's number may be another process's.
//! So everything here goes by the child's pidfd. Where the system has none, the number is used
//! only while the kernel still knows the child as an unreaped one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, kill_process_group,
    pidfd_open, waitid,
};

use super::guardian::Guarded;
use super::spawn::reap_later;
use crate::sys::StatusUnknown;
use crate::{clock, limits};

/// A process that this one has started. Dropping it kills the process and has it reaped.
///
/// In a copy of this process, forked without exec, nothing of this has an effect: the child is
/// the original's.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    /// Its standard streams. Its number is not used.
    streams: Child,
    pid: Pid,
    /// `None` where the kernel has none or a filter refuses it.
    pidfd: Option<Arc<OwnedFd>>,
    /// The process whose child it is.
    parent: u32,
    leads_group: bool,
    /// Kills the group if this process dies before it can.
    guarded: Option<Guarded>,
    /// How it has ended, once it has been reaped; nothing where other code has reaped it.
    end: Option<Option<ExitStatus>>,
}

/// What the kernel says of the child.
enum Look {
    Running,
    Ended(ExitStatus),
    /// Other code of this process has reaped it.
    Gone,
}

impl ChildProcess {
    /// Runs a command. Its process is killed and reaped alone.
    pub(crate) fn start(command: &mut Command) -> io::Result<ChildProcess> {
        Ok(ChildProcess::of(command.spawn()?, false))
    }

    /// Runs a command that makes its process lead a group, which is killed with it.
    pub(super) fn start_group(command: &mut Command) -> io::Result<ChildProcess> {
        Ok(ChildProcess::of(command.spawn()?, true))
    }

    fn of(child: Child, leads_group: bool) -> ChildProcess {
        let pid = Pid::from_child(&child);
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Some(Arc::new(pidfd)),
            Err(errno) => {
                static LOGGED: Once = Once::new();
                LOGGED.call_once(|| {
                    tracing::debug!("pidfd_open: {errno}; the end of children is polled for instead");
                });
                None
            }
        };
        let parent = std::process::id();
        let mut process =
            ChildProcess { streams: child, pid, pidfd, parent, leads_group, guarded: None, end: None };
        if !process.is_unreaped() {
            // Other code has reaped it before the pidfd was opened, which may therefore be
            // another process's.
            (process.pidfd, process.end) = (None, Some(None));
        } else if leads_group {
            process.guarded = Guarded::new(pid);
        }
        process
    }

    /// Its number, which another process may have once it has been reaped.
    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn pidfd(&self) -> Option<&Arc<OwnedFd>> {
        self.pidfd.as_ref()
    }

    pub(super) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.streams.stdin.take()
    }

    pub(super) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.streams.stdout.take()
    }

    pub(super) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.streams.stderr.take()
    }

    /// Whether it has ended. It is not reaped.
    pub(super) fn has_ended(&self) -> io::Result<bool> {
        Ok(self.end.is_some() || !matches!(self.look(WaitIdOptions::NOWAIT)?, Look::Running))
    }

    /// Has a thread of its own wait until it has ended, without reaping it, and then do `then`.
    pub(crate) fn when_ended(&self, then: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let (pidfd, pid) = (self.pidfd.clone(), self.pid);
        let wait = move || {
            match pidfd {
                Some(pidfd) => {
                    while poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None) == Err(Errno::INTR) {}
                }
                None => {
                    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                    while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
                }
            }
            then();
        };
        thread::Builder::new().name("panpipe-child".to_owned()).spawn(wait).map(drop)
    }

    /// Tells it to end.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        Ok(self.signal(Signal::TERM)?)
    }

    /// Kills it, and its group if it leads one.
    pub(crate) fn kill(&self) {
        if self.leads_group {
            self.kill_group();
        }
        // An error: it has ended already.
        let _ = self.signal(Signal::KILL);
    }

    /// Reaps it if it has ended; then what is left of its group is killed.
    pub(super) fn try_reap(&mut self) -> io::Result<Option<Result<ExitStatus, StatusUnknown>>> {
        if self.end.is_none() {
            // Not before its group has been killed: its number stays its own until then.
            if !self.has_ended()? {
                return Ok(None);
            }
            if self.leads_group {
                self.kill_group();
            }
            self.guarded = None;
            self.end = match self.look(WaitIdOptions::empty())? {
                Look::Ended(status) => Some(Some(status)),
                Look::Gone => Some(None),
                Look::Running => return Ok(None),
            };
        }
        Ok(self.end.map(|status| status.ok_or(StatusUnknown)))
    }

    /// Waits until it has ended, for so long at most, and reaps it.
    pub(crate) fn wait_within(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        // As long as it may read it may not end.
        drop(self.take_stdin());
        let start = clock::system();
        loop {
            if let Some(end) = self.try_reap()? {
                return Ok(Some(end?));
            }
            let left = time.saturating_sub(clock::system() - start);
            if left.is_zero() {
                return Ok(None);
            }
            match &self.pidfd {
                Some(pidfd) => {
                    // A time that the system cannot say is all the time there is.
                    let left = Timespec::try_from(left).ok();
                    let _ = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], left.as_ref());
                }
                None => thread::sleep(left.min(limits::EXIT_PAUSE)),
            }
        }
    }

    /// Waits until it has ended, and reaps it.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.wait_within(Duration::MAX)? {
                return Ok(status);
            }
        }
    }

    /// Whether the number is the child's own: the kernel keeps it until the child is reaped.
    fn is_unreaped(&self) -> bool {
        matches!(self.look(WaitIdOptions::NOWAIT), Ok(Look::Running | Look::Ended(_)))
    }

    fn is_a_copys(&self) -> bool {
        self.parent != std::process::id()
    }

    fn look(&self, options: WaitIdOptions) -> Result<Look, Errno> {
        let options = options | WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let look = |id| match waitid(id, options) {
            Ok(Some(ended)) => Ok(Look::Ended(status(&ended))),
            Ok(None) => Ok(Look::Running),
            Err(Errno::CHILD) => Ok(Look::Gone),
            Err(other) => Err(other),
        };
        if let Some(pidfd) = &self.pidfd {
            match look(WaitId::PidFd(pidfd.as_fd())) {
                // Before Linux 5.4, or refused by a filter.
                Err(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {}
                looked => return looked,
            }
        }
        look(WaitId::Pid(self.pid))
    }

    fn signal(&self, signal: Signal) -> Result<(), Errno> {
        if self.end.is_some() || self.is_a_copys() {
            return Err(Errno::SRCH);
        }
        if let Some(pidfd) = &self.pidfd {
            match send_signal(pidfd, signal, 0) {
                Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {}
                sent => return sent,
            }
        }
        if self.is_unreaped() { kill_process(self.pid, signal) } else { Err(Errno::SRCH) }
    }

    /// Kills the group that it leads.
    fn kill_group(&self) {
        /// Signals the group whose leader the pidfd stands for, since Linux 6.9.
        const PROCESS_GROUP: u32 = 4;
        if self.end.is_some() || self.is_a_copys() {
            return;
        }
        if let Some(pidfd) = &self.pidfd
            && matches!(send_signal(pidfd, Signal::KILL, PROCESS_GROUP), Ok(()) | Err(Errno::SRCH))
        {
            return;
        }
        if self.is_unreaped() {
            // A group without members is killed already.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// The same without what can be dropped; none if there is nothing to be reaped.
    fn unreaped(&mut self) -> Option<Unreaped> {
        let is_reaped = self.end.is_some() || self.is_a_copys();
        (!is_reaped).then(|| Unreaped { pid: self.pid, pidfd: self.pidfd.take() })
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
        if !matches!(self.try_reap(), Ok(Some(_)))
            && let Some(process) = self.unreaped()
        {
            reap_later(process);
        }
    }
}

/// A child that was killed, and is a zombie until it is reaped.
#[derive(Debug)]
pub(super) struct Unreaped {
    pid: Pid,
    pidfd: Option<Arc<OwnedFd>>,
}

impl Unreaped {
    /// Reaps it if it has ended; whether that is done, by whomever.
    pub(super) fn reap(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let by_pidfd = self.pidfd.as_ref().map(|pidfd| waitid(WaitId::PidFd(pidfd.as_fd()), options));
        let reaped = match by_pidfd {
            None | Some(Err(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::ACCESS)) => {
                waitid(WaitId::Pid(self.pid), options)
            }
            Some(reaped) => reaped,
        };
        matches!(reaped, Ok(Some(_)) | Err(Errno::CHILD))
    }
}

/// The status in the form that `wait` gives it in.
fn status(ended: &WaitIdStatus) -> ExitStatus {
    /// The flag of a core dump.
    const CORE: i32 = 0x80;
    let raw = match (ended.exit_status(), ended.terminating_signal()) {
        (Some(code), _) => (code & 0xff) << 8,
        (None, Some(signal)) if ended.dumped() => signal | CORE,
        (None, signal) => signal.unwrap_or_default(),
    };
    ExitStatus::from_raw(raw)
}

fn send_signal(pidfd: &OwnedFd, signal: Signal, flags: u32) -> Result<(), Errno> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open while it is borrowed, and the information may be null.
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal.as_raw(), no_info, flags)
    };
    if sent == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> ChildProcess {
        ChildProcess::start(Command::new("sh").args(["-c", script])).unwrap()
    }

    /// Both with the pidfd and as on a system without.
    fn each(script: &str, test: impl Fn(ChildProcess)) {
        test(shell(script));
        let mut process = shell(script);
        process.pidfd = None;
        test(process);
    }

    /// What other code of the process does: it reaps the child as soon as it has ended.
    fn reap_by_number(process: &ChildProcess) {
        waitid(WaitId::Pid(process.pid), WaitIdOptions::EXITED).unwrap();
    }

    fn exists(id: u32) -> bool {
        std::fs::exists(format!("/proc/{id}")).unwrap()
    }

    #[test]
    fn status_has_the_code_or_the_signal() {
        each("exit 7", |mut process| {
            assert_eq!(process.wait_within(PATIENCE).unwrap().unwrap().code(), Some(7));
            // It is kept.
            assert_eq!(process.wait().unwrap().code(), Some(7));
        });
        each("exec sleep 1000", |mut process| {
            assert!(process.wait_within(Duration::ZERO).unwrap().is_none());
            process.terminate().unwrap();
            assert_eq!(process.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
            assert!(process.terminate().is_err());
        });
    }

    #[test]
    fn child_that_other_code_reaped_has_an_unknown_status() {
        each("exit 7", |mut process| {
            reap_by_number(&process);
            assert!(process.has_ended().unwrap());
            let error = process.wait_within(PATIENCE).unwrap_err();
            assert!(StatusUnknown::is_in(&error) && error.to_string().contains("SIGCHLD"), "{error}");
            assert!(process.terminate().is_err());
        });
    }

    #[test]
    fn dropped_child_is_killed_and_reaped() {
        each("exec sleep 1000", |process| {
            let id = process.id();
            drop(process);
            let start = Instant::now();
            while exists(id) {
                assert!(start.elapsed() < PATIENCE);
                thread::sleep(limits::EXIT_PAUSE);
            }
        });
    }

    #[test]
    fn copy_in_a_forked_process_leaves_the_child_alone() {
        each("exec sleep 1000", |mut process| {
            let own = std::mem::replace(&mut process.parent, 1);
            process.kill();
            assert!(process.wait_within(Duration::from_millis(50)).unwrap().is_none());
            process.parent = own;
            process.kill();
            assert_eq!(process.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
        });
    }

    #[test]
    fn group_is_killed_also_after_other_code_has_reaped_its_leader() {
        use std::os::unix::process::CommandExt;
        // The leader prints the number of a process that it leaves in its group, and ends.
        let mut command = Command::new("sh");
        command
            .args(["-c", "sleep 1000 >&2 & echo $!"])
            .stdout(std::process::Stdio::piped())
            .process_group(0);
        let mut process = ChildProcess::start_group(&mut command).unwrap();
        let left = std::io::read_to_string(process.take_stdout().unwrap()).unwrap();
        let left: u32 = left.trim().parse().unwrap();
        reap_by_number(&process);
        assert!(exists(left));
        drop(process);
        let start = Instant::now();
        // Before Linux 6.9 the group cannot be told from another one of its number.
        while std::fs::read_to_string(format!("/proc/{left}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(start.elapsed() < PATIENCE);
            thread::sleep(limits::EXIT_PAUSE);
        }
    }
}
