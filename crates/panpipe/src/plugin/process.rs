//! A plugin's process: run, waited for, ended with all that it has started.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::output::{Output, Stream, Tail, drain};
use crate::limits;
use crate::sys::{self, StatusUnknown, WatchedChild};

/// A process that runs. Dropping it kills it and its own children.
pub(super) struct Process {
    child: WatchedChild,
    printed: JoinSet<()>,
    tail: Tail,
}

/// How a process has ended.
pub(super) struct Ended {
    /// Nothing where other code of this process has reaped it.
    pub(super) status: Option<ExitStatus>,
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
        (command, child.map(|child| Process { child, printed: JoinSet::new(), tail: Tail::default() }))
    }

    /// Its standard output and input, where they are pipes that nobody has taken.
    pub(super) fn take_stdio(
        &mut self,
    ) -> io::Result<tokio::io::Join<impl AsyncRead + use<>, impl tokio::io::AsyncWrite + use<>>> {
        let (output, input) = self
            .child
            .take_stdout()
            .zip(self.child.take_stdin())
            .ok_or_else(|| io::Error::other("its standard input and output are no pipes"))?;
        Ok(tokio::io::join(output?, input?))
    }

    /// Reads what it prints, as far as that comes here.
    pub(super) fn read_outputs(&mut self, name: &Arc<str>, outputs: &Outputs) -> io::Result<()> {
        if let Some(from) = self.child.take_stdout() {
            self.read_output(name, from?, Stream::Out, &outputs.stdout);
        }
        if let Some(from) = self.child.take_stderr() {
            self.read_output(name, from?, Stream::Error, &outputs.stderr);
        }
        Ok(())
    }

    fn read_output(
        &mut self,
        name: &Arc<str>,
        from: impl AsyncRead + Unpin + Send + 'static,
        stream: Stream,
        output: &Output,
    ) {
        self.printed.spawn(drain(Arc::clone(name), from, stream, output.clone(), self.tail.clone()));
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ready when it has ended, or cannot be watched any more. Cancel safe.
    pub(super) async fn ended(&self) {
        if let Err(error) = self.child.ended().await {
            tracing::warn!(pid = self.pid(), "a plugin's process cannot be watched: {error}");
        }
    }

    /// Tells it to end.
    pub(super) fn terminate(&self) {
        if let Err(error) = self.child.terminate() {
            tracing::debug!(pid = self.pid(), "a plugin cannot be told to end: {error}");
        }
    }

    /// Kills it and its own children.
    pub(super) fn kill(&self) {
        self.child.kill();
    }

    /// Waits until it has ended, kills what it has left behind, and reaps it.
    pub(super) async fn end(mut self) -> io::Result<Ended> {
        let status = match self.child.wait().await {
            Ok(status) => Some(status),
            Err(error) if StatusUnknown::is_in(&error) => None,
            Err(error) => return Err(error),
        };
        // A process outside its group may have the pipes still.
        let printed = async { while self.printed.join_next().await.is_some() {} };
        let _ = timeout(limits::PLUGIN_LAST_WORDS, printed).await;
        Ok(Ended { status, stderr_tail: self.tail.text() })
    }
}
