//! What a plugin's process is held to.

use std::io;
use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::plugin::PluginBuilder;

/// What each process of a plugin is held to beyond what all are.
#[derive(Default)]
pub(crate) struct Confinement {
    /// Bytes of address space.
    memory: Option<u64>,
    /// Processor time.
    cpu: Option<Duration>,
    /// Open descriptors.
    files: Option<u64>,
    /// What the user has done between fork and exec.
    hook: Option<Arc<dyn Fn() -> io::Result<()> + Send + Sync>>,
}

impl PluginBuilder {
    /// The most address space that it may have, in bytes. Unix only.
    pub fn limit_memory(mut self, bytes: u64) -> Self {
        self.settings.confinement.memory = Some(bytes);
        self
    }

    /// The most processor time that it may use, in whole seconds. Unix only.
    pub fn limit_cpu(mut self, time: Duration) -> Self {
        self.settings.confinement.cpu = Some(time);
        self
    }

    /// How many descriptors it may have open. Unix only.
    pub fn limit_files(mut self, files: u64) -> Self {
        self.settings.confinement.files = Some(files);
        self
    }

    /// Runs `hook` in each process of the plugin, between fork and exec: to give up rights,
    /// enter namespaces, set a seccomp filter. An error of the hook's is one of the start. Unix
    /// only.
    ///
    /// After the hook come `setsid`, one `fcntl` for each of the plugin's pipes, and the program:
    /// a filter has to let these through. `setsid` may be left to the hook.
    ///
    /// # Safety
    ///
    /// The hook runs between fork and exec, in a copy of a process with several threads:
    /// it must do nothing but what is safe in a signal handler. It must not allocate,
    /// lock or panic. See [`pre_exec`](std::os::unix::process::CommandExt::pre_exec).
    pub unsafe fn before_exec(mut self, hook: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.settings.confinement.hook = Some(Arc::new(hook));
        self
    }
}

impl Confinement {
    /// Has each process that `command` starts lead a session of its own, inherit nothing
    /// but its standard streams and what is passed to it after this, and die with the
    /// thread that started it.
    ///
    /// The session has no terminal. In a group of the host's session, a plugin that reads from
    /// `/dev/tty`, or writes to a terminal under `stty tostop`, would be stopped.
    ///
    /// The hook is run in the child of a fork: whoever gave it has promised that it is
    /// fit for that.
    pub(crate) fn confine(self, command: &mut std::process::Command) {
        let host = rustix::process::getpid();
        let confine = move || {
            // A copy of the host's own descriptors would hold its connections open.
            close_on_exec_from(3)?;
            // Refused by some filters. The guardian kills the group when the host dies, too.
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            if rustix::process::getppid() != Some(host) {
                // It has died in between: nobody would send the signal.
                return Err(rustix::io::Errno::SRCH.into());
            }
            let cpu = self.cpu.map(|cpu| cpu.as_secs().max(1));
            for (resource, most) in
                [(Resource::As, self.memory), (Resource::Cpu, cpu), (Resource::Nofile, self.files)]
            {
                if let Some(most) = most {
                    // Who may have less than that already keeps it.
                    let most = getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
                    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
                }
            }
            self.hook.as_ref().map_or(Ok(()), |hook| hook())?;
            lead_session()
        };
        // SAFETY: between fork and exec the closure makes system calls and no more, but
        // for the hook, whose giver has promised the same of it.
        unsafe {
            command.pre_exec(confine);
        }
    }
}

/// Has this process lead a session, and so a group; safe between fork and exec. A hook that has
/// done so already, or has made it the leader of a group, is left to it.
fn lead_session() -> io::Result<()> {
    // SAFETY: the calls take a process out of its session and its group, touch no memory, and
    // are safe in a signal handler.
    unsafe {
        if libc::setsid() >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if libc::getpgrp() == libc::getpid() { Ok(()) } else { Err(error) }
    }
}

/// Of this process; safe between fork and exec.
pub(super) fn close_on_exec_from(first: u32) -> io::Result<()> {
    /// `CLOSE_RANGE_CLOEXEC`, since Linux 5.11.
    const CLOEXEC: libc::c_uint = 4;
    // SAFETY: the call changes a flag of this process's descriptors and touches no memory.
    if unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOEXEC) } == 0 {
        return Ok(());
    }
    // An older kernel: one by one, as far as there can be any.
    let most = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20).min(1 << 20);
    for fd in first..most as u32 {
        // SAFETY: as above; of a number that is not open the call says so.
        unsafe {
            libc::fcntl(fd as libc::c_int, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
    Ok(())
}
