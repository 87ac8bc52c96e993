//! Starts a plugin's process.

use std::io;

use tokio::process::Command;

use super::watched_child::WatchedChild;

/// Runs the command, and gives it back.
pub(crate) async fn spawn(mut command: Command) -> (Command, io::Result<WatchedChild>) {
    let child = WatchedChild::start_group(&mut command);
    (command, child)
}
