//! Starts a plugin's process.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::{Child, Command};

/// What the system holds a plugin's process to. Windows is not asked to.
#[derive(Debug, Clone, Copy, Default)]
#[allow(dead_code, reason = "they are limits of Unix processes")]
pub(crate) struct ChildLimits {
    pub(crate) memory: Option<u64>,
    pub(crate) cpu: Option<Duration>,
    pub(crate) files: Option<u64>,
}

/// There is no fork after which it could be run.
pub(crate) type Hook = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

pub(crate) fn confine(_: &mut std::process::Command, _: ChildLimits, _: Option<Hook>) {}

/// Runs the command, and gives it back.
pub(crate) async fn spawn(mut command: Command) -> (Command, io::Result<Child>) {
    let child = command.spawn();
    (command, child)
}
