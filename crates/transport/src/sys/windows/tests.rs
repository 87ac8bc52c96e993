//! What Wine can show: it enforces no pipe's security.

use std::io::{self, IoSlice};
use std::os::windows::io::{AsRawHandle, IntoRawHandle};
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::windows::named_pipe::{ClientOptions, ServerOptions};
use tokio::time::timeout;

use super::security::{Security, owner_of, this_user};
use super::{Inheritance, NamedListener, Place, connect, handle_number, pipe, take_read_handle};
use crate::access::Reach;
use crate::error::{ConnectError, NameError};
use crate::stream::{PipeReader, PipeStream, PipeWriter};
use crate::{Peer, anonymous};

const SOON: Duration = Duration::from_secs(10);

fn place(name: &str) -> Place {
    Place::of(&format!("panpipe-test-{}-{name}", std::process::id())).expect("a name")
}

fn connected(place: &Place) -> PipeStream {
    let (read, write, peer) = connect(place, true).expect("a server waits");
    PipeStream::new(read, write, peer)
}

async fn accepted(listener: &NamedListener) -> PipeStream {
    let (read, write, peer) = timeout(SOON, listener.accept()).await.expect("in time").expect("a client");
    PipeStream::new(read, write, peer)
}

#[test]
fn a_path_is_a_name_and_a_name_has_no_slash_of_either_kind() {
    assert_eq!(Place::of("a").map(|place| place.to_string()).as_deref(), Ok(r"\\.\pipe\a"));
    assert_eq!(Place::of(r"\\.\pipe\a"), Place::of("a"));
    for slash in ["a/b", r"a\b", r"\\.\pipe\a\b", r"\\host\pipe\a"] {
        assert!(matches!(Place::of(slash), Err(NameError::Slash { .. })), "{slash}");
    }
    assert!(Place::of(&"x".repeat(247)).is_ok());
    assert!(matches!(Place::of(&"x".repeat(248)), Err(NameError::TooLong { limit: 247, .. })));
}

#[tokio::test]
async fn clients_that_come_at_once_all_find_an_instance() {
    let place = place("burst");
    let listener = NamedListener::bind(&place, Reach::Owner).expect("free");
    let mut clients: Vec<_> = (0..8).map(|_| connected(&place)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.peer().pid, Peer::this_process().pid);
        client.write_u8(number as u8).await.expect("written");
    }
    let mut seen = Vec::new();
    for _ in 0..8 {
        let mut server = accepted(&listener).await;
        assert_eq!(server.peer().pid, Peer::this_process().pid);
        seen.push(timeout(SOON, server.read_u8()).await.expect("in time").expect("a byte"));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_has_gone_holds_nobody_up() {
    let place = place("gone");
    let listener = NamedListener::bind(&place, Reach::Owner).expect("free");
    drop(connected(&place));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut gone = accepted(&listener).await;
    let ended = timeout(SOON, gone.read(&mut [0; 8])).await.expect("in time");
    assert!(matches!(ended, Ok(0)), "{ended:?}");
    let mut client = connected(&place);
    client.write_u8(7).await.expect("written");
    assert_eq!(accepted(&listener).await.read_u8().await.expect("a byte"), 7);
}

#[tokio::test]
async fn what_was_written_is_read_before_the_end() {
    let place = place("end");
    let listener = NamedListener::bind(&place, Reach::Owner).expect("free");
    let mut client = connected(&place);
    let mut server = accepted(&listener).await;
    server.write_all(b"last words").await.expect("written");
    server.shutdown().await.expect("shut down");
    drop(server);
    let mut heard = Vec::new();
    timeout(SOON, client.read_to_end(&mut heard)).await.expect("in time").expect("the end");
    assert_eq!(heard, b"last words");
}

#[tokio::test]
async fn writing_nothing_is_not_the_end() {
    let (mut one, mut other) = anonymous::pair().expect("a pair");
    assert_eq!(one.write(b"").await.expect("nothing"), 0);
    one.write_all(b"more").await.expect("written");
    let mut heard = [0; 4];
    timeout(SOON, other.read_exact(&mut heard)).await.expect("in time").expect("more");
    assert_eq!(&heard, b"more");
}

#[tokio::test]
async fn of_several_slices_the_first_with_bytes_is_written() {
    let (mut reader, mut writer) = anonymous::one_way().expect("a pipe");
    let slices = [IoSlice::new(b""), IoSlice::new(b"head"), IoSlice::new(b"body")];
    assert_eq!(writer.write_vectored(&slices).await.expect("written"), 4);
    writer.flush().await.expect("flushed");
    assert_eq!(writer.try_write_vectored(&slices[2..]).expect("written"), 4);
    assert_eq!(writer.try_write_vectored(&slices[..1]).expect("nothing"), 0);
    let mut heard = [0; 8];
    timeout(SOON, reader.read_exact(&mut heard)).await.expect("in time").expect("both");
    assert_eq!(&heard, b"headbody");
}

#[tokio::test]
async fn a_write_takes_a_part_of_much() {
    let (_reader, mut writer) = anonymous::one_way().expect("a pipe");
    let much = vec![0; 8 << 20];
    let mut taken = 0;
    while let Ok(n) = timeout(Duration::from_millis(100), writer.write(&much)).await {
        taken += n.expect("it is open");
    }
    // What the pipe holds, and one write that waits.
    assert!((1..=1 << 20).contains(&taken), "{taken}");
}

/// Who has shut a pipe down may end its event loop: nothing is lost, and the
/// other side sees the end.
#[test]
fn what_was_shut_down_needs_no_event_loop_any_more() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (read, write) = pipe().expect("a pipe");
    const MUCH: usize = 300 << 10;
    let reading = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        runtime().block_on(async {
            let mut reader = PipeReader::new(super::ReadHalf::new(read).expect("a half"));
            let mut heard = Vec::new();
            let ended = timeout(SOON, reader.read_to_end(&mut heard)).await;
            (heard.len(), ended.is_ok())
        })
    });
    runtime().block_on(async {
        let mut writer = PipeWriter::new(super::WriteHalf::new(write).expect("a half"));
        writer.write_all(&vec![1; MUCH]).await.expect("written");
        writer.shutdown().await.expect("shut down");
    });
    assert_eq!(reading.join().expect("it reads"), (MUCH, true));
}

#[test]
fn a_handle_is_taken_once_by_whoever_is_first() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for _ in 0..200 {
        let (read, _write) = pipe().expect("a pipe");
        let number = handle_number(&read);
        assert!(take_in(&runtime, &number).is_err(), "it is not inheritable");
        let passed = Inheritance::of(&mut Command::new("nobody")).pass(vec![read]);
        std::mem::forget(passed.expect("it can be passed"));
        let start = Barrier::new(4);
        let taken: Vec<_> = thread::scope(|scope| {
            let takers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        take_in(&runtime, &number)
                    })
                })
                .collect();
            takers.into_iter().map(|taker| taker.join().expect("no panic")).collect()
        });
        assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1);
    }
}

fn take_in(runtime: &tokio::runtime::Runtime, number: &str) -> io::Result<super::ReadHalf> {
    let _in_runtime = runtime.enter();
    take_read_handle(number)
}

#[tokio::test]
async fn only_the_number_itself_stands_for_a_handle() {
    let (read, _write) = pipe().expect("a pipe");
    let number = read.as_raw_handle() as usize;
    let passed = Inheritance::of(&mut Command::new("nobody")).pass(vec![read]);
    std::mem::forget(passed.expect("it can be passed"));
    // The system takes no notice of the two lowest bits.
    for wrong in [(number + 1).to_string(), "0".into(), usize::MAX.to_string(), format!("+{number}")] {
        assert!(take_read_handle(&wrong).is_err(), "{wrong}");
    }
    assert!(take_read_handle(&number.to_string()).is_ok());
    let (_, write) = pipe().expect("a pipe");
    let other = write.into_raw_handle() as usize;
    assert!(take_read_handle(&other.to_string()).is_err(), "it is this process's own");
}

/// Wine lets anybody be owner, so that a stranger's pipe can be had.
#[tokio::test]
async fn a_strangers_pipe_is_not_talked_to() {
    let place = place("stranger");
    let administrators = "S-1-5-32-544";
    let security = Security::of(&format!("O:{administrators}D:(A;;GA;;;WD)")).expect("a descriptor");
    // SAFETY: the attributes live until the call is over.
    let server =
        unsafe { ServerOptions::new().create_with_security_attributes_raw(place.path(), security.as_raw()) };
    let server = server.expect("made");
    assert_eq!(owner_of(&server).expect("an owner"), administrators);
    let refused = connect(&place, true).expect_err("it is another's");
    let ConnectError::Io { source, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
    assert!(refused.to_string().contains(administrators), "{refused}");
}

#[tokio::test]
async fn a_pipe_is_its_users() {
    assert!(this_user().expect("a user").starts_with("S-1-5-"));
    let place = place("owner");
    let _listener = NamedListener::bind(&place, Reach::Owner).expect("free");
    let pipe = ClientOptions::new().open(place.path()).expect("a server waits");
    assert_eq!(owner_of(&pipe).expect("an owner"), this_user().expect("a user"));
    assert!(matches!(connect(&self::place("nobody"), true), Err(ConnectError::NotFound { .. })));
}

#[tokio::test]
async fn a_pipe_for_everyone_is_its_users_too_and_nobody_waits_once_it_is_retired() {
    let place = place("everyone");
    let listener = NamedListener::bind(&place, Reach::Everyone).expect("free");
    drop(connected(&place));
    assert!(listener.retire().accept().expect("nobody waits").is_none());
}
