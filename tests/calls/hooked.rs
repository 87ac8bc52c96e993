//! The server behind hooks.

use std::process::Command;

use panpipe_tests::process::Process;
use panpipe_tests::unique_name;

/// A server behind hooks, in a process of its own.
pub(crate) fn hooked(settings: &[&str]) -> (Process, String) {
    let name = unique_name("hooked");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hooked"));
    let process = Process::start(command.arg(&name).args(settings)).serving(&name);
    process.wait_for("ready");
    (process, name)
}
