//! Servers end in order: on signals, with the value that stands for them, and one by one.

use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use panpipe::{CallError, Server, ServiceClient};
use panpipe_tests::board::{Board, BoardClient, Wood};
use panpipe_tests::process::Process;
use panpipe_tests::{PATIENCE, eventually, unique_name};
use rustix::process::Signal;
use tokio::sync::Notify;

fn board_command(how: &str, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_board"));
    command.args([how, name]);
    command
}

/// A board in a process of its own, and a client of it.
async fn board(how: &str) -> (Process, BoardClient) {
    let name = unique_name("board");
    let process = Process::start(&mut board_command(how, &name)).serving(&name);
    let client = board_client(&name).await;
    assert_eq!(client.running().await, Ok(0));
    (process, client)
}

async fn board_client(name: &str) -> BoardClient {
    BoardClient::connect(name).wait(Duration::from_secs(10)).await.unwrap()
}

async fn runs(board: &BoardClient, calls: usize) {
    eventually("the calls run", PATIENCE, async || board.running().await == Ok(calls)).await;
}

/// Reads lines up to one that has these words.
fn read_to(process: &Process, words: &str) {
    while !process.line().contains(words) {}
}

#[tokio::test]
async fn serve_ends_in_order_on_a_signal_and_handlers_learn_of_it() {
    for (how, signal) in [("serve", Signal::INT), ("serve", Signal::TERM), ("serve_blocking", Signal::TERM)] {
        let (mut process, board) = board(how).await;
        let told = tokio::spawn(board.until_ending());
        runs(&board, 1).await;
        process.signal(signal);
        assert_eq!(told.await.unwrap(), Ok((false, true)), "{how}");
        read_to(&process, "1 running calls have up to 3600s to finish; a second signal ends it at once");
        read_to(&process, "ended");
        assert!(process.wait().success());
    }
}

#[tokio::test]
async fn a_second_signal_ends_a_server_at_once() {
    for how in ["serve", "serve_blocking"] {
        let (mut process, board) = board(how).await;
        let hanging = tokio::spawn(board.hang());
        runs(&board, 1).await;
        process.signal(Signal::INT);
        read_to(&process, "a second signal ends it at once");
        assert!(!hanging.is_finished());
        process.signal(Signal::INT);
        read_to(&process, "1 clients of the server are cut off");
        read_to(&process, "ended");
        assert!(process.wait().success());
        let cut = hanging.await.unwrap();
        assert!(matches!(cut, Err(CallError::Disconnected { sent: true } | CallError::Cancelled)), "{cut:?}");
    }
}

#[tokio::test]
async fn a_server_without_signals_leaves_them_to_its_program() {
    let (mut process, board) = board("without_signals").await;
    process.signal(Signal::TERM);
    assert_eq!(process.wait().signal(), Some(Signal::TERM.as_raw()));
    board.closed().await;
}

#[tokio::test]
async fn an_event_ends_a_server_beside_its_signals() {
    let (mut process, board) = board("serve").await;
    board.end().await.unwrap();
    assert!(process.wait().success());
}

#[tokio::test]
async fn the_service_manager_is_told_of_the_end_of_the_last_server_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let names = [unique_name("board"), unique_name("board")];
    let mut command = board_command("serve", &names[0]);
    let mut process = Process::start(command.arg(&names[1]).env("NOTIFY_SOCKET", &path)).serving(&names[0]);
    let (one, other) = (board_client(&names[0]).await, board_client(&names[1]).await);
    one.end().await.unwrap();
    one.closed().await;
    UnixDatagram::unbound().unwrap().send_to(b"the first has ended", &path).unwrap();
    other.end().await.unwrap();
    assert!(process.wait().success());
    manager.set_nonblocking(true).unwrap();
    let mut told = Vec::new();
    let mut bytes = [0; 256];
    while let Ok(size) = manager.recv(&mut bytes) {
        told.push(String::from_utf8_lossy(&bytes[..size]).trim().to_owned());
    }
    assert_eq!(told, ["READY=1", "READY=1", "the first has ended", "STOPPING=1"]);
}

fn own_board(name: &str) -> Server {
    let end = Arc::new(Notify::new());
    let told = Arc::clone(&end);
    Server::bind(name).service(Wood::new(end).serve()).until(async move { told.notified().await })
}

/// Ends a server that no value stands for.
async fn end(board: &BoardClient) {
    board.end().await.unwrap();
    board.closed().await;
}

#[tokio::test]
async fn a_server_ends_in_order_when_its_value_is_dropped_unless_it_is_detached() {
    let name = unique_name("board");
    let server = own_board(&name).start().unwrap();
    let board = board_client(&name).await;
    let told = tokio::spawn(board.until_ending());
    runs(&board, 1).await;
    drop(server);
    assert_eq!(told.await.unwrap(), Ok((false, true)));
    board.closed().await;

    own_board(&name).start().unwrap().detach();
    let board = board_client(&name).await;
    assert_eq!(board.running().await, Ok(0));
    end(&board).await;
    // Nor does giving up waiting leave it running.
    let name = unique_name("board");
    let server = own_board(&name).start().unwrap();
    let board = board_client(&name).await;
    assert_eq!(board.running().await, Ok(0));
    tokio::select! {
        biased;
        _ = server.wait() => panic!("nothing has told it to end"),
        () = tokio::task::yield_now() => {}
    }
    board.closed().await;
}

#[tokio::test]
async fn a_server_of_threads_ends_in_order_when_its_value_is_dropped_unless_it_is_detached() {
    let name = unique_name("board");
    let server = own_board(&name).start_blocking().unwrap();
    let board = board_client(&name).await;
    assert_eq!(board.running().await, Ok(0));
    drop(server);
    board.closed().await;
    own_board(&name).start_blocking().unwrap().detach();
    let board = board_client(&name).await;
    assert_eq!(board.running().await, Ok(0));
    end(&board).await;
}
