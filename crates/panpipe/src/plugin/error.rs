//! Why a plugin does not run.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use thiserror::Error;

use crate::error::Refusal;
use crate::metadata::MetadataError;
use crate::offers::OfferedTwice;
use crate::sys::StatusUnknown;

/// Why a plugin was not started. Nothing of it is left.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PluginError {
    /// No pipe could be made for it, or the process could not be watched.
    #[error("{program} cannot be run as a plugin: {source}")]
    System {
        /// The program.
        program: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The program could not be run.
    #[error("{program} could not be run: {source}")]
    Program {
        /// The program, as it was asked for.
        program: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The rule of [`PluginBuilder::verify`](super::PluginBuilder::verify) does not let the
    /// program run.
    #[error("{program} was not started: {why}")]
    Rejected {
        /// The program.
        program: String,
        /// What the rule says of it.
        why: String,
    },
    /// The process ended before it had said hello.
    #[error(
        "{program} ended before it had said hello ({}); is it a plugin of this host?{}",
        ending(*status),
        tail(stderr_tail)
    )]
    Exited {
        /// The program.
        program: String,
        /// How it ended. `None` where other code of the host has reaped it, as a host does that
        /// ignores SIGCHLD or calls `waitpid(-1)`.
        status: Option<ExitStatus>,
        /// The last lines that it printed to its standard error.
        stderr_tail: String,
    },
    /// What it wrote to the host is not panpipe's, or it closed its pipes.
    #[error("{program} is no plugin: {why}{}", tail(stderr_tail))]
    NotAPlugin {
        /// The program.
        program: String,
        /// What it did.
        why: String,
        /// The last lines that it printed to its standard error.
        stderr_tail: String,
    },
    /// It is a plugin, of another service or version, or it does not want this host.
    #[error("{program} and this host do not fit together: {refusal}")]
    Refused {
        /// The program.
        program: String,
        /// In whose words.
        refusal: Refusal,
    },
    /// The host's metadata for the plugin cannot be sent.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The host offers a service twice.
    #[error(transparent)]
    OfferedTwice(#[from] OfferedTwice),
    /// It did not say hello in time.
    #[error(
        "{program} did not say hello within {after:?}; is it a plugin of this host?{}",
        tail(stderr_tail)
    )]
    Timeout {
        /// The program.
        program: String,
        /// How long it had.
        after: Duration,
        /// The last lines that it printed to its standard error.
        stderr_tail: String,
    },
}

impl PluginError {
    /// Whether the same program may start at another time: the system was what failed.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            PluginError::System { .. } => true,
            PluginError::Program { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::ExecutableFileBusy
                    | io::ErrorKind::ResourceBusy
                    | io::ErrorKind::OutOfMemory
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::Interrupted
            ),
            _ => false,
        }
    }

    /// Whether the program's file is open for writing.
    pub(super) fn is_file_busy(&self) -> bool {
        matches!(self, PluginError::Program { source, .. } if source.kind() == io::ErrorKind::ExecutableFileBusy)
    }
}

/// How a process has ended, in words.
pub(super) fn ending(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| StatusUnknown.to_string(), |status| status.to_string())
}

/// What is said of a standard error, if anything was printed to it.
fn tail(lines: &str) -> String {
    if lines.is_empty() { String::new() } else { format!("\nthe last that it printed:\n{lines}") }
}
