//! A plugin's process: run, waited for, ended with all that it has started.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::output::{Output, Stream, Tail, drain};
use crate::limits;
use crate::sys::{self, Family};

/// A process that runs. Dropping it kills it and its own children.
pub(super) struct Process {
    pid: u32,
    // Before the child: its group is killed while its number is still its own.
    family: Family,
    child: Child,
    printed: JoinSet<()>,
    tail: Tail,
}

/// How a process has ended.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stderr_tail: String,
}

/// Where goes what a process prints.
#[derive(Debug, Clone)]
pub(super) struct Outputs {
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}

impl Process {
    /// Runs a command, and gives it back.
    pub(super) async fn run(command: Command) -> (Command, io::Result<Process>) {
        let (command, child) = sys::spawn(command).await;
        let process = child.and_then(|child| {
            let family = Family::of(&child)?;
            let pid = child.id().ok_or(io::ErrorKind::NotFound)?;
            Ok(Process { pid, family, child, printed: JoinSet::new(), tail: Tail::default() })
        });
        (command, process)
    }

    /// Its standard output and input, where they are pipes that nobody has taken.
    pub(super) fn take_stdio(
        &mut self,
    ) -> Option<tokio::io::Join<impl tokio::io::AsyncRead + use<>, impl tokio::io::AsyncWrite + use<>>> {
        let (output, input) = self.child.stdout.take().zip(self.child.stdin.take())?;
        Some(tokio::io::join(output, input))
    }

    /// Reads what it prints, as far as that comes here.
    pub(super) fn read_outputs(&mut self, name: &Arc<str>, outputs: &Outputs) {
        if let Some(from) = self.child.stdout.take() {
            let output = outputs.stdout.clone();
            self.printed.spawn(drain(Arc::clone(name), from, Stream::Out, output, self.tail.clone()));
        }
        if let Some(from) = self.child.stderr.take() {
            let output = outputs.stderr.clone();
            self.printed.spawn(drain(Arc::clone(name), from, Stream::Error, output, self.tail.clone()));
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Ready when it has ended, or cannot be watched any more. Cancel safe.
    pub(super) async fn ended(&self) {
        if let Err(error) = self.family.ended().await {
            tracing::warn!(pid = self.pid, "a plugin's process cannot be watched: {error}");
        }
    }

    /// Tells it to end.
    pub(super) fn terminate(&self) {
        if let Err(error) = self.family.terminate() {
            tracing::debug!(pid = self.pid, "a plugin cannot be told to end: {error}");
        }
    }

    /// Kills it and its own children.
    pub(super) fn kill(&self) {
        self.family.kill();
    }

    /// Waits until it has ended, kills what it has left behind, and reaps it.
    pub(super) async fn end(mut self) -> io::Result<Ended> {
        self.ended().await;
        self.family.kill_what_is_left();
        let status = self.child.wait().await?;
        // A process outside its group may have the pipes still.
        let printed = async { while self.printed.join_next().await.is_some() {} };
        let _ = timeout(limits::PLUGIN_LAST_WORDS, printed).await;
        Ok(Ended { status, stderr_tail: self.tail.text() })
    }
}
