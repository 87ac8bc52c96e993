//! What happens to a plugin.

use std::fmt;
use std::process::ExitStatus;

/// What has happened to a plugin. See [`PluginBuilder::on_event`](super::PluginBuilder::on_event).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// Its process runs and has said hello.
    Started {
        /// The process.
        pid: u32,
    },
    /// It did not answer in time, see [`PluginBuilder::health`](super::PluginBuilder::health),
    /// and is killed.
    Unhealthy {
        /// The process.
        pid: u32,
    },
    /// Its process has ended, and with it the processes that it had started.
    Exited {
        /// The process that it was.
        pid: u32,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it printed to its standard error.
        stderr_tail: String,
    },
    /// A start that was to replace it failed; it is tried again, unless that was the last.
    StartFailed {
        /// Why.
        error: String,
    },
    /// A new process runs in place of one that has ended.
    Restarted {
        /// The new process.
        pid: u32,
        /// How often the plugin has been restarted so far, this time included.
        times: u64,
    },
    /// It is not started again. Calls fail from here on.
    GaveUp,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Started { pid } => write!(f, "it runs as process {pid}"),
            Event::Unhealthy { pid } => write!(f, "process {pid} does not answer, and is killed"),
            Event::Exited { pid, status, stderr_tail } => {
                write!(f, "process {pid} has ended ({status})")?;
                match stderr_tail.lines().last() {
                    Some(last) => write!(f, ", the last that it printed: {last}"),
                    None => Ok(()),
                }
            }
            Event::StartFailed { error } => write!(f, "it could not be started again: {error}"),
            Event::Restarted { pid, times } => {
                write!(f, "it runs again as process {pid}, restarted {times} times so far")
            }
            Event::GaveUp => f.write_str("it is given up, and not started again"),
        }
    }
}
