//! Starts a plugin's process, held to what was agreed.

use std::io;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// What the system holds a plugin's process to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ChildLimits {
    /// Bytes of address space.
    pub(crate) memory: Option<u64>,
    /// Processor time.
    pub(crate) cpu: Option<Duration>,
    /// Open descriptors.
    pub(crate) files: Option<u64>,
}

/// What the user has done between fork and exec.
pub(crate) type Hook = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Has each process that `command` starts lead a group of its own, inherit nothing
/// but its standard streams and what is passed to it after this, and die with the
/// thread that started it.
///
/// The hook is run in the child of a fork: whoever gave it has promised that it is
/// fit for that.
pub(crate) fn confine(command: &mut std::process::Command, limits: ChildLimits, hook: Option<Hook>) {
    command.process_group(0);
    let host = rustix::process::getpid();
    let confine = move || {
        // A copy of the host's own descriptors would hold its connections open.
        close_on_exec_from(3)?;
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        if rustix::process::getppid() != Some(host) {
            // It has died in between: nobody would send the signal.
            return Err(rustix::io::Errno::SRCH.into());
        }
        let cpu = limits.cpu.map(|cpu| cpu.as_secs().max(1));
        for (resource, most) in
            [(Resource::As, limits.memory), (Resource::Cpu, cpu), (Resource::Nofile, limits.files)]
        {
            if let Some(most) = most {
                // Who may have less than that already keeps it.
                let most = getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
                setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
            }
        }
        hook.as_ref().map_or(Ok(()), |hook| hook())
    };
    // SAFETY: between fork and exec the closure makes system calls and no more, but
    // for the hook, whose giver has promised the same of it.
    unsafe {
        command.pre_exec(confine);
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

/// Runs the command, and gives it back.
///
/// The system signals the death of a parent when the *thread* ends that forked, and
/// the threads of a runtime come and go. So one thread, which stays as long as the
/// process, starts all plugins.
///
/// # Panics
///
/// Outside a tokio runtime.
pub(crate) async fn spawn(command: Command) -> (Command, io::Result<Child>) {
    struct Job {
        command: Command,
        runtime: Handle,
        done: oneshot::Sender<(Command, io::Result<Child>)>,
    }
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, todo) = mpsc::channel::<Job>();
        let spawner = move || {
            for Job { mut command, runtime, done } in todo {
                let _inside = runtime.enter();
                // The thread must not end: every plugin would with it.
                let child = catch_unwind(AssertUnwindSafe(|| command.spawn())).unwrap_or_else(|_| {
                    Err(io::Error::other(
                        "it cannot be watched: the tokio runtime has no I/O driver, enable it",
                    ))
                });
                // Where nobody waits any more the child is killed with its handle.
                let _ = done.send((command, child));
            }
        };
        if let Err(error) = thread::Builder::new().name("panpipe-spawner".to_owned()).spawn(spawner) {
            tracing::error!("the thread that starts plugins cannot be started: {error}");
        }
        Mutex::new(jobs)
    });
    let (done, result) = oneshot::channel();
    let job = Job { command, runtime: Handle::current(), done };
    let unsent = spawner.lock().unwrap_or_else(PoisonError::into_inner).send(job).err();
    if let Some(mpsc::SendError(job)) = unsent {
        return (job.command, Err(io::Error::other("this process has no thread left to start plugins from")));
    }
    result.await.unwrap_or_else(|_| {
        (Command::new(""), Err(io::Error::other("the thread that starts plugins has ended")))
    })
}
