//! Why a plugin does not run.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use thiserror::Error;

use crate::error::Refusal;

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
    /// The process ended before it had said hello.
    #[error(
        "{program} ended before it had said hello ({status}); is it a plugin of this host?{}",
        tail(stderr_tail)
    )]
    Exited {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
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

/// What is said of a standard error, if anything was printed to it.
fn tail(lines: &str) -> String {
    if lines.is_empty() { String::new() } else { format!("\nthe last that it printed:\n{lines}") }
}
