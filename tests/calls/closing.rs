//! Clients learn of the end of their connection, close it, and register again.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use panpipe::{Backoff, BlockingServiceClient, CallError, CloseReason, Server, ServiceClient, connect};
use panpipe_tests::board::{Board, BoardClient, Reader, ReaderClient, Wood};
use panpipe_tests::process::Process;
use panpipe_tests::{PATIENCE, eventually, unique_name};
use tokio::sync::{Notify, mpsc};

const WAIT: Duration = Duration::from_secs(10);

fn serve(name: &str) -> Process {
    Process::start(Command::new(env!("CARGO_BIN_EXE_board")).args(["serve", name])).serving(name)
}

struct Eyes(mpsc::UnboundedSender<String>);

impl Reader for Eyes {
    async fn read(&self, text: String) {
        let _ = self.0.send(text);
    }
}

fn reader() -> (ReaderClient, mpsc::UnboundedReceiver<String>) {
    let (send, texts) = mpsc::unbounded_channel();
    (ReaderClient::offer(Eyes(send).serve()), texts)
}

#[tokio::test]
async fn whoever_waits_for_it_learns_of_the_end_of_a_killed_server() {
    let name = unique_name("board");
    let mut server = serve(&name);
    let client = BoardClient::connect(&name).wait(WAIT).await.unwrap();
    assert_eq!(client.running().await, Ok(0));
    let connection = connect(&name).await.unwrap();
    let stub: BoardClient = connection.client().await.unwrap();
    let blocking = BoardClient::connect(&name).blocking().unwrap();
    assert_eq!(blocking.running(), Ok(0));
    let idle = BoardClient::connect(&name).blocking().unwrap();
    assert_eq!(idle.running(), Ok(0));
    let waiting = std::thread::spawn(move || blocking.closed());
    // Nobody but the connection's own thread reads for this one.
    let as_async = tokio::spawn(idle.as_async().closed());
    let others = [client.closed(), stub.closed()];
    let connections_end = connection.closed();
    server.kill();
    for closed in others {
        assert_eq!(closed.await, CloseReason::Closed);
    }
    assert_eq!(connections_end.await, CloseReason::Closed);
    assert_eq!(waiting.join().unwrap(), Ok(CloseReason::Closed));
    assert_eq!(as_async.await.unwrap(), CloseReason::Closed);
    // Once it has ended it is known at once.
    assert_eq!(
        (client.closed().await, connection.closed().await),
        (CloseReason::Closed, CloseReason::Closed)
    );
}

fn own_board(name: &str) -> panpipe::RunningServer {
    Server::bind(name).service(Wood::new(Arc::new(Notify::new())).serve()).start().unwrap()
}

#[tokio::test]
async fn to_wait_for_the_end_keeps_no_connection_open() {
    let name = unique_name("board");
    let server = own_board(&name);
    let client = BoardClient::connect(&name).await.unwrap();
    assert_eq!(client.running().await, Ok(0));
    let closed = client.closed();
    drop(client);
    assert_eq!(closed.await, CloseReason::Local);
    eventually("the server knows", PATIENCE, async || server.hub().clients().is_empty()).await;
}

#[tokio::test]
async fn close_lets_what_runs_finish_and_takes_no_more() {
    let name = unique_name("board");
    let server = own_board(&name);
    let client = BoardClient::connect(&name).await.unwrap();
    let running = tokio::spawn(client.until_ending());
    eventually("it runs", PATIENCE, async || client.running().await == Ok(1)).await;
    let clone = client.clone();
    // The handler learns that its client closes, and returns.
    client.close().await;
    assert_eq!(running.await.unwrap(), Ok((false, true)));
    assert_eq!(clone.running().await, Err(CallError::Disconnected { sent: false }));
    eventually("the server knows", PATIENCE, async || server.hub().clients().is_empty()).await;
    // A connection, and a client of one of its services.
    let connection = connect(&name).await.unwrap();
    let stub: BoardClient = connection.client().await.unwrap();
    stub.close().await;
    assert_eq!(
        (connection.close().await, connection.closed().await),
        (CloseReason::Local, CloseReason::Local)
    );
    // Without a connection there is nothing to do.
    BoardClient::local(Wood::new(Arc::new(Notify::new()))).close().await;
}

#[test]
fn a_blocking_client_closes_its_connection() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let name = unique_name("board");
    let server = runtime.block_on(async { own_board(&name) });
    let client = BoardClient::connect(&name).blocking().unwrap();
    assert_eq!(client.running(), Ok(0));
    assert_eq!(client.close(), Ok(()));
    assert_eq!(client.running(), Err(CallError::Disconnected { sent: false }));
    assert_eq!(client.closed(), Ok(CloseReason::Local));
    runtime.block_on(eventually("the server knows", PATIENCE, async || server.hub().clients().is_empty()));
}

/// A trait that has methods of these names itself.
#[panpipe::service]
pub trait Door {
    /// Shuts it.
    async fn close(&self) -> u8;
    /// Whether it is shut.
    async fn closed(&self) -> bool;
}

struct Oak;

impl Door for Oak {
    async fn close(&self) -> u8 {
        7
    }

    async fn closed(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn methods_of_these_names_are_the_traits_own() {
    let name = unique_name("door");
    let _server = Server::bind(&name).service(Oak.serve()).start().unwrap();
    let door = DoorClient::connect(&name).await.unwrap();
    assert_eq!((door.close().await, door.closed().await), (Ok(7), Ok(true)));
    ServiceClient::close(&door).await;
    assert_eq!(ServiceClient::closed(&door).await, CloseReason::Local);
    assert_eq!(door.close().await, Err(CallError::Disconnected { sent: false }));
}

#[tokio::test]
async fn a_client_that_only_listens_registers_again_after_its_server_was_killed() {
    let name = unique_name("board");
    let mut server = serve(&name);
    let (reader, mut texts) = reader();
    let again = reader.clone();
    let board = BoardClient::connect(&name)
        .wait(WAIT)
        .on_reconnect(move |board: BoardClient| {
            let reader = again.clone();
            async move {
                let _ = board.subscribe(reader).await;
            }
        })
        .await
        .unwrap();
    board.subscribe(reader).await.unwrap();
    for round in 0..3 {
        let other = BoardClient::connect(&name).wait(WAIT).await.unwrap();
        let text = round.to_string();
        eventually("the reader is registered", PATIENCE, async || other.post(text.clone()).await == Ok(1))
            .await;
        assert_eq!(texts.recv().await, Some(text));
        server.kill();
        drop(server);
        server = serve(&name);
    }
    // With the last client it ends: nothing registers any more.
    drop(board);
    let other = BoardClient::connect(&name).wait(WAIT).await.unwrap();
    eventually("the reader has gone", PATIENCE, async || other.post("last".to_owned()).await == Ok(0)).await;
}

#[tokio::test]
async fn an_idempotent_watch_goes_on_with_the_next_server() {
    let name = unique_name("board");
    let mut server = serve(&name);
    let board = BoardClient::connect(&name).wait(WAIT).reconnect(Backoff::exponential()).await.unwrap();
    let (reader, mut texts) = reader();
    let watching = tokio::spawn(board.watch(reader));
    for round in 0..3 {
        let other = BoardClient::connect(&name).wait(WAIT).await.unwrap();
        eventually("it watches", PATIENCE, async || other.running().await == Ok(1)).await;
        assert_eq!(other.post(round.to_string()).await, Ok(1));
        assert_eq!(texts.recv().await, Some(round.to_string()));
        server.kill();
        drop(server);
        server = serve(&name);
    }
    let other = BoardClient::connect(&name).wait(WAIT).await.unwrap();
    eventually("it watches", PATIENCE, async || other.running().await == Ok(1)).await;
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(watching.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_reconnecting_client_that_is_closed_connects_no_more() {
    let name = unique_name("board");
    let server = own_board(&name);
    let (told, mut reconnected) = mpsc::unbounded_channel();
    let board = BoardClient::connect(&name)
        .on_reconnect(move |_: BoardClient| {
            let _ = told.send(());
            async {}
        })
        .await
        .unwrap();
    assert_eq!(board.running().await, Ok(0));
    board.close().await;
    assert_eq!(board.running().await, Err(CallError::Disconnected { sent: false }));
    eventually("the server knows", PATIENCE, async || server.hub().clients().is_empty()).await;
    drop(board);
    assert_eq!(reconnected.recv().await, None);
}
