//! Proof 25: file descriptors sent to a server that expects none.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use panpipe_tests::raw::{self, Raw, kind};
use panpipe_tests::{PATIENCE, at_most, eventually, system};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::common::{client, server};

const DESCRIPTORS: usize = 10_000;
/// As many as the system takes with one message.
const AT_ONCE: usize = 250;

/// Sends bytes and, with the first of them, descriptors.
fn send_with(raw: &Raw, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    let sent = sendmsg(&raw.socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL);
    assert_eq!(sent.unwrap(), bytes.len());
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
            send_with(&raw, &raw::call(round, "add(u64,u64)->u64", 0, &args), &descriptors);
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
