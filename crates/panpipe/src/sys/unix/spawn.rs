//! The thread that starts the processes of plugins, and reaps children that were dropped.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::oneshot;

use super::child_process::{ChildProcess, Unreaped};
use super::per_process::PerProcess;
use super::watched_child::WatchedChild;
use crate::guarded::caught;
use crate::limits;

enum Job {
    Start { command: Command, done: oneshot::Sender<(Command, io::Result<ChildProcess>)> },
    Reap(Unreaped),
}

/// The system signals the death of a parent when the *thread* ends that forked, and
/// the threads of a runtime come and go. So one thread, which stays as long as the
/// process, starts all plugins. A process that was forked without exec has a thread of its own.
static SPAWNER: PerProcess<mpsc::Sender<Job>> = PerProcess::new();

fn spawner() -> &'static mpsc::Sender<Job> {
    SPAWNER.get(|| {
        let (jobs, todo) = mpsc::channel();
        let started = thread::Builder::new().name("panpipe-spawner".to_owned()).spawn(move || work(&todo));
        if let Err(error) = started {
            tracing::error!("the thread that starts plugins cannot be started: {error}");
        }
        jobs
    })
}

fn work(todo: &mpsc::Receiver<Job>) {
    let mut killed: Vec<Unreaped> = Vec::new();
    let mut pause = limits::EXIT_PAUSE;
    loop {
        let job = if killed.is_empty() {
            todo.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            todo.recv_timeout(pause)
        };
        // A child that cannot die yet, as in a read from a lost disk, costs little.
        pause = (pause * 2).min(Duration::from_secs(1));
        match job {
            Ok(Job::Start { mut command, done }) => {
                let child = ChildProcess::start_group(command.as_std_mut());
                // Where nobody waits any more the child is killed with its handle.
                let _ = done.send((command, child));
            }
            Ok(Job::Reap(process)) => {
                killed.push(process);
                pause = limits::EXIT_PAUSE;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        killed.retain(|process| !process.reap());
    }
}

/// Has a child reaped that was killed.
pub(super) fn reap_later(process: Unreaped) {
    // An error: no thread could be started. The child stays a zombie until this process ends.
    let _ = spawner().send(Job::Reap(process));
}

/// Runs the command, and gives it back.
///
/// # Panics
///
/// Outside a tokio runtime.
pub(crate) async fn spawn(command: Command) -> (Command, io::Result<WatchedChild>) {
    let (done, result) = oneshot::channel();
    if let Err(mpsc::SendError(Job::Start { command, .. })) = spawner().send(Job::Start { command, done }) {
        return (command, Err(io::Error::other("this process has no thread left to start plugins from")));
    }
    let Ok((command, child)) = result.await else {
        let ended = io::Error::other("the thread that starts plugins has ended");
        return (Command::new(""), Err(ended));
    };
    let watched = child.and_then(|child| {
        caught(|| WatchedChild::of(child)).unwrap_or_else(|_| {
            let why = "it cannot be watched: the tokio runtime has no I/O driver, enable it";
            Err(io::Error::other(why))
        })
    });
    (command, watched)
}
