//! A child whose end a runtime waits for.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::time::sleep;

use super::child_process::ChildProcess;
use crate::limits;

/// A child whose end a runtime waits for. Dropping it kills the child.
#[derive(Debug)]
pub(crate) struct WatchedChild {
    // Before the child, whose descriptor it watches.
    end: Option<Arc<AsyncFd<Arc<OwnedFd>>>>,
    process: ChildProcess,
}

/// The end of a child, for tasks that do not own it.
#[derive(Debug)]
pub(crate) struct ChildEnd(Option<Arc<AsyncFd<Arc<OwnedFd>>>>);

impl ChildEnd {
    /// Ready when the child has ended; never where the system has no pidfds. Cancel safe.
    pub(crate) async fn reached(&self) {
        match &self.0 {
            Some(end)
                if end.readable().await.is_ok_and(|mut ready| {
                    ready.retain_ready();
                    true
                }) => {}
            _ => std::future::pending().await,
        }
    }
}

impl WatchedChild {
    /// Runs a command.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with an I/O driver.
    pub(crate) fn start(command: Command) -> io::Result<WatchedChild> {
        let mut command = command;
        WatchedChild::of(ChildProcess::start(&mut command)?)
    }

    /// # Panics
    ///
    /// Outside a tokio runtime with an I/O driver.
    pub(super) fn of(process: ChildProcess) -> io::Result<WatchedChild> {
        let watch = |pidfd: &Arc<OwnedFd>| {
            // SAFETY: the AsyncFd shares the descriptor, which stays open and the same for as
            // long as it is registered.
            let end = unsafe { AsyncFd::register_with_interest(Arc::clone(pidfd), Interest::READABLE) };
            end.map(Arc::new)
        };
        let end = process.pidfd().map(watch).transpose()?;
        Ok(WatchedChild { end, process })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn end(&self) -> ChildEnd {
        ChildEnd(self.end.clone())
    }

    pub(crate) fn take_stdin(&mut self) -> Option<io::Result<ChildStdin>> {
        self.process.take_stdin().map(ChildStdin::from_std)
    }

    pub(crate) fn take_stdout(&mut self) -> Option<io::Result<ChildStdout>> {
        self.process.take_stdout().map(ChildStdout::from_std)
    }

    pub(crate) fn take_stderr(&mut self) -> Option<io::Result<ChildStderr>> {
        self.process.take_stderr().map(ChildStderr::from_std)
    }

    /// Ready when it has ended. This does not reap it: until it is reaped nothing else has its
    /// number, and the rest of its group can be killed. Cancel safe.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        match &self.end {
            Some(end) => end.readable().await?.retain_ready(),
            None => {
                while !self.process.has_ended()? {
                    sleep(limits::EXIT_PAUSE).await;
                }
            }
        }
        Ok(())
    }

    /// Waits until it has ended, kills what is left of its group, and reaps it. Cancel safe.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        // As long as it may read it may not end.
        drop(self.process.take_stdin());
        loop {
            self.ended().await?;
            if let Some(end) = self.process.try_reap()? {
                return Ok(end?);
            }
            // Its first thread has ended, and others of it have not.
            sleep(limits::EXIT_PAUSE).await;
        }
    }

    /// Tells it to end.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        self.process.terminate()
    }

    /// Kills it, and its group if it leads one.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }
}
