//! Starts a plugin's process.

use std::io;

use tokio::process::{Child, Command};

/// Runs the command, and gives it back.
pub(crate) async fn spawn(mut command: Command) -> (Command, io::Result<Child>) {
    let child = command.spawn();
    (command, child)
}
