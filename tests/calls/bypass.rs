//! Connections that go by two pipes beside their socket, where messages are short.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::thread;
use std::time::Duration;

use panpipe::{CallError, CloseReason, ServiceClient};
use panpipe_tests::process::Process;
use panpipe_tests::raw::{self, Raw, RawListener, kind};
use panpipe_tests::{PATIENCE, eventually, system};
use panpipe_transport::limits::{BYPASS_HOLDS, BYPASSES};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use crate::common::{client, server, studio};

/// More than are made before a connection gets a bypass.
const MANY: u64 = 200;

#[tokio::test]
async fn many_short_calls_get_a_bypass_and_few_get_none() {
    let (server, name) = server(&[]);
    let before = system::pipes(server.id());
    let few = client(&name).await;
    for x in 0..20 {
        assert_eq!(few.add(x, 1).await, Ok(x + 1));
    }
    assert_eq!(system::pipes(server.id()), before);
    let many = client(&name).await;
    for x in 0..MANY {
        assert_eq!(many.add(x, 1).await, Ok(x + 1));
    }
    assert_eq!(system::pipes(server.id()), before + 2);
    // Its pipes go with the connection.
    drop(many);
    eventually("the pipes are closed", PATIENCE, async || system::pipes(server.id()) == before).await;
    assert_eq!(few.add(1, 1).await, Ok(2));
}

#[tokio::test]
async fn large_and_small_ones_come_in_order_whichever_way_they_go() {
    let (server, _, studio) = studio(&[]).await;
    let before = system::pipes(server.id());
    for x in 0..MANY {
        assert_eq!(studio.echo(x).await, Ok(x));
    }
    assert_eq!(system::pipes(server.id()), before + 2);
    // Around each bound: of what is short, and of what goes in parts.
    let sizes = [10, 20_000, 17, 100, 70_000, 3, 300_000, 5, 2_000_000];
    for (round, size) in sizes.iter().cycle().take(60).enumerate() {
        let bytes: Vec<u8> = (0..*size).map(|at| (at * 31 + round) as u8).collect();
        // Short ones before, beside and behind it; enough, at times, to go back.
        let beside = futures::future::join_all((0..(round as u64 % 24)).map(|x| studio.echo(x)));
        let (came, beside) = tokio::join!(studio.echo_bytes(bytes.clone()), beside);
        assert!(came.unwrap() == bytes, "{size} bytes in round {round}");
        assert!(beside.into_iter().enumerate().all(|(x, echoed)| echoed == Ok(x as u64)));
        for x in 0..(round as u64 % 40) {
            assert_eq!(studio.echo(x).await, Ok(x));
        }
    }
}

/// What is large goes by the bypass too while short messages pass it, and comes whole.
#[tokio::test]
async fn what_short_calls_pass_goes_with_them() {
    let (server, _, studio) = studio(&[]).await;
    let bytes: Vec<u8> = (0..8usize << 20).map(|at| (at * 31 + at / 251) as u8).collect();
    for _ in 0..3 {
        for x in 0..MANY {
            assert_eq!(studio.echo(x).await, Ok(x));
        }
        let mut large = pin!(studio.echo_bytes(bytes.clone()));
        let (mut passed, mut little) = (0, 0);
        let came = loop {
            tokio::select! {
                biased;
                came = &mut large => break came,
                echoed = studio.echo(passed) => assert_eq!(echoed, Ok(passed)),
            }
            passed += 1;
            // No pipe but one by which bulk goes too holds so little.
            let sizes = system::pipe_sizes(server.id());
            little += usize::from(sizes.iter().any(|&size| size < BYPASS_HOLDS));
        };
        assert!(came.unwrap() == bytes);
        assert!(passed > 100 && little > 50, "{passed} passed it, {little} of them on the bypass");
        // By itself it goes by the socket again.
        assert!(studio.echo_bytes(bytes.clone()).await.unwrap() == bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_on_many_threads_go_by_it_together() {
    let (server, name) = server(&[]);
    let before = system::pipes(server.id());
    let client = client(&name).await;
    let alone = client.clone();
    let calls = async move {
        for x in 0..MANY {
            assert_eq!(alone.add(x, 1).await, Ok(x + 1));
        }
    };
    tokio::spawn(calls).await.unwrap();
    // One caller alone gets it too, who reads for himself there.
    assert_eq!(system::pipes(server.id()), before + 2);
    let callers = (0..8u64).map(|caller| {
        let client = client.clone();
        tokio::spawn(async move {
            for x in 0..MANY {
                assert_eq!(client.add(x, caller).await, Ok(x + caller));
                if x % 50 == caller {
                    let bytes = vec![caller as u8; 100_000];
                    assert!(client.echo(bytes.clone()).await.unwrap() == bytes);
                }
            }
        })
    });
    for caller in futures::future::join_all(callers).await {
        caller.unwrap();
    }
    assert_eq!(system::pipes(server.id()), before + 2);
}

/// In the midst of a message nothing goes on by the other way, however much waits by then.
#[tokio::test]
async fn a_message_that_is_half_out_stays_whole() {
    let (server, name) = server(&[]);
    let client = client(&name).await;
    for x in 0..MANY {
        assert_eq!(client.add(x, 1).await, Ok(x + 1));
    }
    server.stop();
    let mut calls = tokio::task::JoinSet::new();
    // More than the pipe holds, a little at a time.
    for _ in 0..60 {
        for x in 0..16u64 {
            let client = client.clone();
            let bytes = vec![x as u8; 100 + x as usize];
            calls.spawn(async move { client.echo(bytes.clone()).await == Ok(bytes) });
        }
        // Those are made, and written, before the next are.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
    server.signal(Signal::CONT);
    assert!(calls.join_all().await.into_iter().all(|echoed| echoed));
    assert_eq!(client.add(1, 1).await, Ok(2));
}

#[tokio::test]
async fn a_server_that_is_killed_is_noticed_on_it() {
    let (mut server, name) = server(&[]);
    let client = client(&name).await;
    for x in 0..MANY {
        assert_eq!(client.add(x, 1).await, Ok(x + 1));
    }
    let hangs = tokio::spawn({
        let client = client.clone();
        async move { client.hang().await }
    });
    assert_eq!(client.add(1, 1).await, Ok(2));
    server.kill();
    let ended = tokio::time::timeout(Duration::from_secs(10), hangs).await.expect("it is noticed");
    assert!(matches!(ended.unwrap(), Err(CallError::Disconnected { sent: true })));
}

const BYPASS: [u8; 7] = [3, 0, 0, 0, kind::BYPASS, 0, 0];
const SWITCH: [u8; 7] = [3, 0, 0, 0, kind::SWITCH, 0, 0];

/// From PROTOCOL.md alone: it asks, goes by what it gets, and is followed.
#[tokio::test]
async fn a_client_of_another_kind_goes_by_it_too() {
    let (_server, name) = server(&[]);
    let call =
        |a: u64, b: u64| raw::call(0, "add(u64,u64)->u64", 0, &[a.to_le_bytes(), b.to_le_bytes()].concat());
    // A frame's head, kind, port and id, the status and the sum.
    let mut reply = [0; 16];
    let sum = |reply: &[u8]| (reply[4], u64::from_le_bytes(reply[8..].try_into().unwrap()));
    let mut raw = Raw::greeted(&name, "Probe");
    raw.send(&raw::frame(kind::ASK, 0, &[]));
    let (bytes, fds) = raw.receive_with();
    assert_eq!(bytes, BYPASS);
    let [read, write] = <[OwnedFd; 2]>::try_from(fds).expect("two ends come with it");
    // Before it has gone by it itself it is not expected to read from it.
    for _ in 0..MANY {
        raw.send(&call(1, 1));
        assert_eq!(raw.frame().kind, kind::REPLY);
    }
    for flags in [&read, &write] {
        rustix::io::ioctl_fionbio(flags, false).unwrap();
    }
    let (mut read, mut write) = (File::from(read), File::from(write));
    // Behind the word stands what comes when it is back on the socket.
    raw.send(&[&SWITCH[..], &call(5, 6)].concat());
    write.write_all(&call(1, 2)).unwrap();
    // The answer goes by it as well, and says so on the socket.
    assert_eq!(raw.frame().kind, kind::SWITCH);
    read.read_exact(&mut reply).unwrap();
    assert_eq!(sum(&reply), (kind::REPLY, 3));
    write.write_all(&[&call(3, 4)[..], &SWITCH].concat()).unwrap();
    for wanted in [7, 11] {
        read.read_exact(&mut reply).unwrap();
        assert_eq!(sum(&reply), (kind::REPLY, wanted));
    }
}

/// So many connections have one at a time, and no more; the others are told that there is none.
#[tokio::test]
async fn a_server_has_no_more_than_it_may() {
    let (server, name) = server(&[]);
    let before = system::pipes(server.id());
    let ask = || {
        let mut raw = Raw::greeted(&name, "Probe");
        raw.send(&raw::frame(kind::ASK, 0, &[]));
        let (bytes, fds) = raw.receive_with();
        assert_eq!(bytes, BYPASS);
        (raw, fds)
    };
    let mut with: Vec<_> = (0..BYPASSES).map(|_| ask()).collect();
    assert!(with.iter().all(|(_, fds)| fds.len() == 2));
    let (mut without, fds) = ask();
    assert!(fds.is_empty());
    without.send(&raw::call(0, "add(u64,u64)->u64", 0, &[0; 16]));
    assert_eq!(without.frame().kind, kind::REPLY);
    with.pop();
    let all_but_one = before + 2 * (BYPASSES - 1);
    eventually("one is closed", PATIENCE, async || system::pipes(server.id()) == all_but_one).await;
    assert_eq!(ask().1.len(), 2);
}

#[tokio::test]
async fn who_goes_by_a_bypass_that_there_is_not_is_told_so() {
    let (_server, name) = server(&[]);
    let told = |frames: &[u8]| {
        let mut raw = Raw::greeted(&name, "Probe");
        raw.send(frames);
        let last = raw.to_the_end().pop().expect("a word comes before the end");
        assert_eq!(last.kind, kind::CLOSE);
        last.words()
    };
    assert!(told(&SWITCH).contains("bypass"));
    assert!(told(&raw::frame(kind::BYPASS, 0, &[])).contains("bypass"));
    let ask = raw::frame(kind::ASK, 0, &[]);
    assert!(told(&[ask.clone(), ask].concat()).contains("bypass"));
    assert_eq!(client(&name).await.add(1, 1).await, Ok(2));
}

/// Greets a client as a server of such features: 2 is that it makes a bypass.
fn greet(raw: &mut Raw, features: u8) {
    raw.expect_magic();
    assert_eq!(raw.frame().kind, kind::HELLO);
    raw.send(raw::MAGIC);
    let mut hello = raw::server_hello("Probe");
    // Behind the frame's head, kind, port and id, the protocol and the codec.
    hello[9] = features;
    raw.send(&hello);
}

fn reply(id: u64, sum: u64) -> Vec<u8> {
    raw::frame(kind::REPLY, id, &[&[0][..], &sum.to_le_bytes()].concat())
}

/// Answers on the socket until the client goes by the bypass that it has asked for. Gives
/// the server's ends of it, and the call that came by it.
fn serve_until_bypassed(raw: &mut Raw) -> (File, File, u64) {
    let mut pipes = None;
    loop {
        let frame = raw.frame();
        match frame.kind {
            kind::CALL => raw.send(&reply(frame.id, 1)),
            kind::ASK => {
                let (read, theirs_written) = pipe_with(PipeFlags::CLOEXEC).unwrap();
                let (theirs_read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
                raw::send_with(&raw.socket, &BYPASS, &[theirs_read.as_fd(), theirs_written.as_fd()]);
                pipes = Some((File::from(read), File::from(write)));
            }
            kind::SWITCH => {
                let (mut read, write) = pipes.expect("it goes by what it has");
                let mut head = [0; 4];
                read.read_exact(&mut head).unwrap();
                let mut call = vec![0; u32::from_le_bytes(head) as usize];
                read.read_exact(&mut call).unwrap();
                assert_eq!(call[0], kind::CALL);
                return (read, write, call[2].into());
            }
            other => panic!("{other}"),
        }
    }
}

/// The flag is shared by all who have the same open file description, the server included.
#[test]
fn server_cannot_make_a_client_block_in_its_bypass() {
    let name = panpipe_tests::unique_name("bypass");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_misbehave"));
    let server = Process::start(command.args([&name, "unblock"])).serving(&name);
    server.wait_for("ready");
    let (done, ended) = std::sync::mpsc::channel();
    let calling = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = client(&name).await.with_timeout(Duration::from_millis(200));
            // The runtime has to go on: the timeout ends the call that the server leaves.
            while client.add(1, 0).await == Ok(9) {}
            assert_eq!(client.add(1, 0).await, Err(CallError::DeadlineExceeded));
        });
        let _ = done.send(());
    });
    server.wait_for("silent");
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(()), "the client's runtime blocks in a read");
    calling.join().unwrap();
}

/// Who reads for himself does not take the end of the socket for the end of all.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_server_says_last_is_heard_whichever_way_it_goes() {
    for _ in 0..20 {
        let name = panpipe_tests::unique_name("bypass");
        let listener = RawListener::bind(&name);
        let server = thread::spawn(move || {
            let mut raw = listener.accept();
            greet(&mut raw, 2);
            let (_read, mut write, call) = serve_until_bypassed(&mut raw);
            raw.send(&SWITCH);
            write.write_all(&reply(call, 9)).unwrap();
        });
        // In a task: there a caller reads for himself.
        let called = tokio::spawn(async move {
            let client = client(&name).await;
            loop {
                match client.add(1, 0).await {
                    Ok(1) => {}
                    last => return last,
                }
            }
        });
        assert_eq!(called.await.unwrap(), Ok(9));
        server.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_word_at_the_end_is_heard_by_who_reads_for_himself() {
    for _ in 0..20 {
        let name = panpipe_tests::unique_name("bypass");
        let listener = RawListener::bind(&name);
        let server = thread::spawn(move || {
            let mut raw = listener.accept();
            greet(&mut raw, 0);
            for _ in 0..MANY {
                let call = raw.frame();
                assert_eq!(call.kind, kind::CALL, "a bypass is not asked for that is not made");
                raw.send(&reply(call.id, 1));
            }
            let _last = raw.frame();
            raw.send(&raw::frame(kind::CLOSE, 0, &raw::string("that was all")));
        });
        let called = tokio::spawn(async move {
            let client = client(&name).await;
            while client.add(1, 0).await == Ok(1) {}
            client
        });
        let client = called.await.unwrap();
        eventually("it ends", PATIENCE, async || client.close_reason().is_some()).await;
        let reason = client.close_reason();
        assert!(matches!(&reason, Some(CloseReason::ByPeer(why)) if why == "that was all"), "{reason:?}");
        server.join().unwrap();
    }
}
