//! Starts a plugin's process.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

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
