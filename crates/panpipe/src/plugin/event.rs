//! What happens to a plugin.

use std::fmt;
use std::process::ExitStatus;
use std::sync::Arc;

use super::error::ending;

/// What has happened to a plugin. See [`PluginBuilder::on_event`](super::PluginBuilder::on_event).
///
/// Each event has the plugin's name: the one that [`PluginBuilder::name`](super::PluginBuilder::name)
/// or [`Plugins`](super::Plugins) gave it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// Its process runs and has said hello.
    #[non_exhaustive]
    Started {
        /// The plugin's name.
        plugin: Arc<str>,
        /// The process.
        pid: u32,
    },
    /// It did not answer in time, see [`PluginBuilder::health`](super::PluginBuilder::health),
    /// and is killed.
    #[non_exhaustive]
    Unhealthy {
        /// The plugin's name.
        plugin: Arc<str>,
        /// The process.
        pid: u32,
    },
    /// Its process has ended, and with it the processes that it had started.
    #[non_exhaustive]
    Exited {
        /// The plugin's name.
        plugin: Arc<str>,
        /// The process that it was.
        pid: u32,
        /// How it ended. `None` where other code of the host has reaped it, as a host does that
        /// ignores SIGCHLD or calls `waitpid(-1)`.
        status: Option<ExitStatus>,
        /// The last lines that it printed to its standard error.
        stderr_tail: String,
    },
    /// A start that was to replace it failed; it is tried again, unless that was the last.
    #[non_exhaustive]
    StartFailed {
        /// The plugin's name.
        plugin: Arc<str>,
        /// Why.
        error: String,
    },
    /// A new process runs in place of one that has ended.
    #[non_exhaustive]
    Restarted {
        /// The plugin's name.
        plugin: Arc<str>,
        /// The new process.
        pid: u32,
        /// How often the plugin has been restarted so far, this time included.
        times: u64,
    },
    /// It is not started again. Calls fail from here on.
    #[non_exhaustive]
    GaveUp {
        /// The plugin's name.
        plugin: Arc<str>,
    },
}

impl Event {
    /// The name of the plugin that it happened to.
    #[must_use]
    pub fn plugin(&self) -> &str {
        match self {
            Event::Started { plugin, .. }
            | Event::Unhealthy { plugin, .. }
            | Event::Exited { plugin, .. }
            | Event::StartFailed { plugin, .. }
            | Event::Restarted { plugin, .. }
            | Event::GaveUp { plugin } => plugin,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {}: ", self.plugin())?;
        match self {
            Event::Started { pid, .. } => write!(f, "it runs as process {pid}"),
            Event::Unhealthy { pid, .. } => write!(f, "process {pid} does not answer, and is killed"),
            Event::Exited { pid, status, stderr_tail, .. } => {
                write!(f, "process {pid} has ended ({})", ending(*status))?;
                match stderr_tail.lines().last() {
                    Some(last) => write!(f, ", the last that it printed: {last}"),
                    None => Ok(()),
                }
            }
            Event::StartFailed { error, .. } => write!(f, "it could not be started again: {error}"),
            Event::Restarted { pid, times, .. } => {
                write!(f, "it runs again as process {pid}, restarted {times} times so far")
            }
            Event::GaveUp { .. } => f.write_str("it is given up, and not started again"),
        }
    }
}
