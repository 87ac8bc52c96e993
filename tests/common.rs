//! The programs of this package, started for a test.

use std::process::Command;
use std::time::Duration;

use panpipe_tests::probe::ProbeClient;
use panpipe_tests::process::Process;
use panpipe_tests::studio::StudioClient;
use panpipe_tests::{PATIENCE, eventually, unique_name};

/// A server of the probe in a process of its own, ready for clients.
pub(crate) fn server(settings: &[&str]) -> (Process, String) {
    let name = unique_name("probe");
    (server_at(&name, settings), name)
}

/// The same under a name.
pub(crate) fn server_at(name: &str, settings: &[&str]) -> Process {
    let process = Process::start(&mut server_command(name, settings)).serving(name);
    process.wait_for("ready");
    process
}

/// The server that is not running yet.
pub(crate) fn server_command(name: &str, settings: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    command.arg(name).args(settings);
    command
}

/// A client of a server.
pub(crate) async fn client(name: &str) -> ProbeClient {
    ProbeClient::connect(name).wait(Duration::from_secs(10)).await.expect("the server listens")
}

/// A client in a process of its own.
pub(crate) fn client_process(name: &str, what: &str) -> Process {
    Process::start(Command::new(env!("CARGO_BIN_EXE_client")).args([name, what]))
}

/// A child that is not running yet.
pub(crate) fn child_command(what: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_child"));
    command.arg(what);
    command
}

/// What `door connect` says of its try.
pub(crate) fn try_door(command: &mut Command, name: &str, trust: Option<&str>) -> String {
    let client = Process::start(command.args(["connect", name]).args(trust));
    words_of(&client)
}

/// What `door serve` says once it serves or has failed.
pub(crate) fn open_door(command: &mut Command, name: &str, access: &str) -> (Process, String) {
    let server = Process::start(command.args(["serve", name, access]));
    let words = words_of(&server);
    (server, words)
}

/// The next line that tells more than that a note was decoded.
pub(crate) fn words_of(door: &Process) -> String {
    loop {
        match door.line() {
            decoded if decoded == "decoded" => {}
            words => return words,
        }
    }
}

/// A studio in a process of its own, and a client of it.
pub(crate) async fn studio(settings: &[&str]) -> (Process, String, StudioClient) {
    let (process, name) = studio_process(settings);
    let client = studio_client(&name).await;
    (process, name, client)
}

/// A studio without a client.
pub(crate) fn studio_process(settings: &[&str]) -> (Process, String) {
    let name = unique_name("studio");
    let mut command = Command::new(env!("CARGO_BIN_EXE_studio"));
    let process = Process::start(command.args(["serve", &name]).args(settings)).serving(&name);
    process.wait_for("ready");
    (process, name)
}

/// Another client of a studio.
pub(crate) async fn studio_client(name: &str) -> StudioClient {
    StudioClient::connect(name).wait(Duration::from_secs(10)).await.expect("the studio listens")
}

/// Waits until nothing is left in the studio of what this client had it open.
pub(crate) async fn nothing_is_left(studio: &StudioClient) {
    eventually("every maker is dropped and every port closed", PATIENCE, async || {
        studio.alive().await.expect("the studio answers") == (0, 0)
    })
    .await;
}
