//! Kills the groups of plugins when this process dies before it can.
//!
//! A process that is killed cannot clean up, and the signal that the death of a
//! parent sends reaches its own children and not theirs. So a shell, one for the whole
//! process and started with the first plugin, reads the numbers of the groups from a
//! socket whose other end only this process has. When that ends it kills them.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{SendFlags, send};
use rustix::process::Pid;

use super::child_process::ChildProcess;
use super::confinement::close_on_exec_from;
use super::per_process::PerProcess;
use super::program::check_null_device;

/// Keeps a list of groups, and kills them at the end of its input.
const SCRIPT: &str = r#"
trap '' HUP INT TERM QUIT
groups=' '
while read -r what group; do
    case $what in
    +) groups="$groups$group " ;;
    -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do
    kill -s KILL -- "-$group"
done
"#;

/// How long the shell may take to read a line, where many wait.
const PATIENCE: Duration = Duration::from_millis(200);

struct Guardian {
    /// Killed when dropped.
    _shell: ChildProcess,
    /// No pipe: writing to one that nobody reads may end this process by SIGPIPE.
    socket: UnixStream,
}

#[derive(Default)]
struct Watch {
    guardian: Option<Guardian>,
    groups: BTreeSet<i32>,
    /// There is no shell here; that has been said.
    is_given_up: bool,
}

/// A process that was forked without exec has a shell of its own: the parent's goes by the end
/// of the parent.
static WATCH: PerProcess<Mutex<Watch>> = PerProcess::new();

/// A group that is killed if this process dies while this lives.
#[derive(Debug)]
pub(super) struct Guarded {
    group: i32,
}

impl Guarded {
    /// `None` where nobody can be found to do it.
    pub(super) fn new(group: Pid) -> Option<Guarded> {
        let group = group.as_raw_nonzero().get();
        let mut watch = lock();
        watch.groups.insert(group);
        if watch.tell('+', group) {
            return Some(Guarded { group });
        }
        watch.groups.remove(&group);
        None
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let mut watch = lock();
        // A group of the process that this one was forked from is not here.
        if watch.groups.remove(&self.group) {
            watch.tell('-', self.group);
        }
    }
}

fn lock() -> MutexGuard<'static, Watch> {
    WATCH.get(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Tells the shell of a group. Where it has gone another one is told of all.
    fn tell(&mut self, what: char, group: i32) -> bool {
        if let Some(guardian) = &mut self.guardian {
            if guardian.tell(what, group).is_ok() {
                return true;
            }
            self.guardian = None;
        }
        if self.is_given_up || self.groups.is_empty() {
            return false;
        }
        let started = Guardian::start().and_then(|mut guardian| {
            self.groups.iter().try_for_each(|&group| guardian.tell('+', group))?;
            Ok(guardian)
        });
        match started {
            Ok(guardian) => self.guardian = Some(guardian),
            Err(error) => {
                self.is_given_up = true;
                tracing::warn!(
                    "no shell can be run: if this process is killed, its plugins end with it, but not the processes that they have started: {error}"
                );
            }
        }
        self.guardian.is_some()
    }
}

impl Guardian {
    fn start() -> io::Result<Guardian> {
        check_null_device()?;
        let (socket, input) = UnixStream::pair()?;
        // A shell that somebody has stopped is given up, rather than waited for.
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT])
            .stdin(Stdio::from(OwnedFd::from(input)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // What a terminal sends to this process's group is not for it.
            .process_group(0);
        // SAFETY: between fork and exec the closure makes system calls and no more.
        unsafe {
            command.pre_exec(|| close_on_exec_from(3));
        }
        Ok(Guardian { _shell: ChildProcess::start(&mut command)?, socket })
    }

    fn tell(&mut self, what: char, group: i32) -> io::Result<()> {
        let line = format!("{what} {group}\n");
        // As one: it is far less than a socket holds.
        let sent = send(&self.socket, line.as_bytes(), SendFlags::NOSIGNAL)?;
        if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}
