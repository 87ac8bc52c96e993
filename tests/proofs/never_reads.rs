//! Proof 9: a client that only ever writes.

use std::io::Write;
use std::time::Duration;

use panpipe_tests::raw::{self, Raw};
use panpipe_tests::{PATIENCE, eventually, system, times};

use crate::common::{client, server};

/// Writes until the server takes no more for a while, or all is written.
fn write_all_that_goes(raw: &mut Raw, frames: impl Iterator<Item = Vec<u8>>) {
    raw.socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    for frame in frames {
        if raw.socket.write_all(&frame).is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn proof_09_a_client_that_never_reads_holds_up_itself_alone() {
    let (server, name) = server(&[]);
    let probe = client(&name).await;
    for x in 0..1000 {
        probe.add(x, 1).await.unwrap();
    }
    let before = system::rss_kib(server.id());
    let calls = times(100_000, 100_000) as u64;
    let kinds = [
        // Replies that nobody reads.
        ("large(usize)->Vec<u8>", 200_000u64.to_le_bytes().to_vec()),
        ("echo(Vec<u8>)->Vec<u8>", raw::block(&[7; 1000])),
        // Handlers that never end: over the cap they are answered, and nobody reads that.
        ("hang()->()", Vec::new()),
    ];
    let mut all = Vec::new();
    for (signature, args) in kinds {
        let name = name.clone();
        all.push(
            tokio::task::spawn_blocking(move || {
                let mut raw = Raw::greeted(&name, "Probe");
                let frames = (0..calls).map(|call| raw::call(call % 1024, signature, 0, &args));
                write_all_that_goes(&mut raw, frames);
                raw
            })
            .await
            .unwrap(),
        );
        assert_eq!(probe.add(1, 2).await, Ok(3));
    }
    let grown = system::rss_kib(server.id()).saturating_sub(before);
    let most = probe.counts().await.unwrap().most;
    println!("three clients that never read: {grown} KiB, {most} handlers at most");
    assert!(grown < 32 << 10, "{grown} KiB");
    assert!(most <= 1024, "{most} handlers");
    drop(all);
    eventually("their handlers are dropped", PATIENCE, async || probe.counts().await.unwrap().running == 0)
        .await;
}

#[test]
fn proof_09_calls_over_the_cap_are_answered_as_overloaded() {
    let (_server, name) = server(&["max_calls=10"]);
    let mut raw = Raw::greeted(&name, "Probe");
    // Behind the extra ids, which are for calls that nest.
    let over = 10 + 256 + 2..10 + 256 + 4;
    for id in (0..10).chain(over.clone()) {
        raw.send(&raw::call(id, "hang()->()", 0, &[]));
    }
    for id in over {
        let reply = raw.frame();
        // 6: Overloaded.
        assert_eq!((reply.kind, reply.id, reply.body.as_slice()), (raw::kind::REPLY, id, &[6][..]));
    }
}
