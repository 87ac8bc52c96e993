//! A plugin's process and its own children: a process group.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::time::sleep;

use super::guardian::Guarded;
use crate::limits;

/// The process group that a plugin's process leads. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Family {
    /// The leader's pidfd; `None` where the kernel has none or a filter refuses it.
    leader: Option<AsyncFd<OwnedFd>>,
    group: Pid,
    /// Set before the leader is reaped: from then on its number may be another's.
    is_over: AtomicBool,
    /// Kills the group if this process dies before it can.
    guarded: Option<Guarded>,
}

impl Family {
    /// The family of a child that has just been started and not been waited for.
    pub(crate) fn of(child: &Child) -> io::Result<Family> {
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let group = pid.ok_or_else(|| io::Error::other("the child has been waited for already"))?;
        // The child cannot have been reaped: the number is its own.
        let leader = match pidfd_open(group, PidfdFlags::empty()) {
            // SAFETY: the AsyncFd owns the descriptor, which stays open and the same for as
            // long as it is registered.
            Ok(leader) => Some(unsafe { AsyncFd::register_with_interest(leader, Interest::READABLE) }?),
            Err(errno) => {
                static LOGGED: Once = Once::new();
                LOGGED.call_once(|| {
                    tracing::debug!("pidfd_open: {errno}; the end of plugins is polled for instead");
                });
                None
            }
        };
        Ok(Family { leader, group, is_over: AtomicBool::new(false), guarded: Guarded::new(group) })
    }

    /// Ready when the leader has ended. It has not been reaped: until then nothing
    /// else has its number, and the rest of its group can be killed by it. Cancel safe.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        if let Some(leader) = &self.leader {
            leader.readable().await?.retain_ready();
            return Ok(());
        }
        // Without reaping, or once other code of this process has reaped it.
        while self.is_running()? {
            sleep(limits::EXIT_PAUSE).await;
        }
        Ok(())
    }

    /// Whether the leader runs. False when it waits to be reaped, or has been reaped.
    fn is_running(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.group), options) {
            Ok(ended) => Ok(ended.is_none()),
            Err(Errno::CHILD) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    /// Tells the leader to end.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        if let Some(leader) = &self.leader {
            match pidfd_send_signal(leader.get_ref(), Signal::TERM) {
                Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {}
                other => return Ok(other?),
            }
        }
        // The number is the leader's own until it has been reaped.
        if self.is_running()? { Ok(kill_process(self.group, Signal::TERM)?) } else { Ok(()) }
    }

    /// Kills all of the group. To be called before the leader is reaped.
    pub(crate) fn kill(&self) {
        if !self.is_over.load(Ordering::SeqCst) {
            // A group without members is killed already.
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }

    /// The last that is done before the leader is reaped.
    pub(crate) fn kill_what_is_left(&mut self) {
        self.kill();
        // Nor is anybody else to kill by the number from here on.
        self.guarded = None;
        self.is_over.store(true, Ordering::SeqCst);
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        self.kill();
    }
}
