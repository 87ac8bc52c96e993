//! A process that this one has started, without a runtime.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

use crate::{clock, limits};

/// A process that this one has started. Dropping it kills the process.
///
/// Its handle keeps the process's number from being used again.
#[derive(Debug)]
pub(crate) struct ChildProcess(Child);

impl ChildProcess {
    /// Runs a command.
    pub(crate) fn start(command: &mut Command) -> io::Result<ChildProcess> {
        command.spawn().map(ChildProcess)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Nothing is started that could wait for this yet.
    pub(crate) fn when_ended(&self, _: impl FnOnce() + Send + 'static) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        // An error: it has ended already.
        let _ = self.0.kill();
    }

    /// Waits until it has ended, for so long at most.
    pub(crate) fn wait_within(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        let start = clock::system();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            let left = time.saturating_sub(clock::system() - start);
            if left.is_zero() {
                return Ok(None);
            }
            thread::sleep(left.min(limits::EXIT_PAUSE));
        }
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
