//! Proof 25: file descriptors sent to a server that expects none.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use panpipe::PipeName;
use panpipe_tests::raw::{self, Raw, kind};
use panpipe_tests::{PATIENCE, at_most, eventually, system, times};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::common::{client, server};

const DESCRIPTORS: usize = 10_000;
/// As many as the system takes with one message.
const AT_ONCE: usize = 250;

/// Sends bytes and, with the first of them, descriptors. Where the system refuses these, as it
/// does since Linux 6.16 on behalf of the server, the bytes go alone; whether it took them.
fn send_with(mut socket: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> bool {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    match sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
        Err(Errno::PERM) => {
            let written = socket.write_all(bytes);
            assert!(written.is_ok() || written.unwrap_err().kind() == ErrorKind::BrokenPipe);
            false
        }
        // The server has closed the connection already.
        Err(Errno::PIPE | Errno::CONNRESET) => false,
        sent => {
            assert_eq!(sent, Ok(bytes.len()));
            true
        }
    }
}

/// A TCP socket that takes two minutes to close: its peer does not read what is left to be sent.
fn slow_to_close() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    set_socket_linger(&socket, Some(2 * PATIENCE)).unwrap();
    socket.set_nonblocking(true).unwrap();
    while socket.write(&[0; 1 << 16]).is_ok() {}
    (socket, peer)
}

/// Whether the system lets a socket refuse descriptors.
fn can_refuse() -> bool {
    let (one, other) = UnixStream::pair().unwrap();
    panpipe_tests::sys::refuse_descriptors(&other) && !send_with(&one, b"x", &[one.as_fd()])
}

#[tokio::test]
async fn descriptor_that_takes_long_to_close_holds_up_nobody() {
    if !can_refuse() {
        eprintln!("SKIPPED: this system has no SO_PASSRIGHTS, which came with Linux 6.16");
        return;
    }
    // Two servers: one lets in the user who attacks it, the other one nobody.
    let (server, name) = server(&[]);
    let probe = client(&name).await;
    let path = tempfile::tempdir().unwrap();
    let closed = path.path().join("closed");
    let access = panpipe::Access::when(|_| false);
    let refusing =
        panpipe_transport::Listener::bind_for(PipeName::new(closed.to_str().unwrap()).unwrap(), access);
    let refusing = refusing.unwrap();
    let accepting = tokio::spawn(async move { refusing.accept().await.map(drop) });
    let attack = tokio::task::spawn_blocking(move || {
        // The peers stay open: a socket whose peer has gone closes at once.
        let mut peers = Vec::new();
        for _ in 0..times(8, 64) {
            for path in [&raw::path_of(&name), &closed] {
                let (slow, peer) = slow_to_close();
                let socket = UnixStream::connect(path).unwrap();
                if !send_with(&socket, b"x", &[slow.as_fd()]) {
                    // This process has the last copy, and is not to wait when it closes that.
                    set_socket_linger(&slow, None).unwrap();
                }
                peers.push(peer);
            }
        }
        peers
    });
    let peers = tokio::time::timeout(PATIENCE, attack).await.expect("nobody sleeps").unwrap();
    // Every thread of the server answers, and this one, which has turned the others away.
    for _ in 0..100 {
        assert_eq!(tokio::time::timeout(PATIENCE, probe.add(1, 2)).await.unwrap(), Ok(3));
    }
    assert!(!accepting.is_finished());
    drop((accepting, peers));
    assert!(server.finish().success());
}

#[tokio::test]
async fn proof_25_descriptors_that_nobody_expects_are_gone() {
    let (server, name) = server(&[]);
    let probe = client(&name).await;
    probe.add(1, 2).await.unwrap();
    let hostile = tokio::task::spawn_blocking({
        let name = name.clone();
        move || Raw::greeted(&name, "Probe")
    });
    let raw = hostile.await.unwrap();
    let before = system::fds_but_event_loops(server.id());

    let (mut kept, sent) = std::io::pipe().unwrap();
    let hostile = tokio::task::spawn_blocking(move || {
        let mut raw = raw;
        let descriptors = [sent.as_fd(); AT_ONCE];
        for round in 0..(DESCRIPTORS / AT_ONCE) as u64 {
            // With a call that the server reads and answers: they are not left lying.
            let args = [round.to_le_bytes(), 1u64.to_le_bytes()].concat();
            send_with(&raw.socket, &raw::call(round, "add(u64,u64)->u64", 0, &args), &descriptors);
            assert_eq!(raw.frame().kind, kind::REPLY);
        }
        raw
    });
    let raw = hostile.await.unwrap();
    assert_eq!(system::fds_but_event_loops(server.id()), before);
    // No process has one of them any more: the pipe has no writer.
    let ended = tokio::task::spawn_blocking(move || kept.read(&mut [0; 8]).unwrap());
    let ended = tokio::time::timeout(at_most(Duration::from_secs(1)), ended).await;
    assert_eq!(ended.expect("the pipe ends").unwrap(), 0);
    assert_eq!(probe.add(1, 2).await, Ok(3));
    println!("{DESCRIPTORS} descriptors: the server has {before} as before, and nobody has those");
    drop(raw);
    eventually("the connection is closed", PATIENCE, async || {
        system::fds_but_event_loops(server.id()) == before - 1
    })
    .await;
    assert!(server.finish().success());
}
