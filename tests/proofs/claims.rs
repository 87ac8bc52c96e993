//! Proof 4: heads that claim more than comes.

use std::time::{Duration, Instant};

use panpipe_tests::raw::{Raw, kind};
use panpipe_tests::{at_most, system, times};

use crate::common::{client, server};

#[test]
fn proof_04_a_claim_reserves_nothing() {
    let (server, name) = server(&[]);
    drop(Raw::greeted(&name, "Probe"));
    let before = system::rss_kib(server.id());
    let claiming: Vec<_> = (0..times(300, 1000))
        .map(|_| {
            let mut raw = Raw::greeted(&name, "Probe");
            // The largest that is accepted, and none of it.
            raw.send(&(16u32 << 20).to_le_bytes());
            raw
        })
        .collect();
    // Every server has read its head once a client after them is served.
    drop(Raw::greeted(&name, "Probe"));
    let grown = system::rss_kib(server.id()).saturating_sub(before);
    println!("{} claims of 16 MiB: {grown} KiB", claiming.len());
    assert!(grown < 64 << 10, "{grown} KiB for {} claims", claiming.len());
}

#[tokio::test]
async fn proof_04_an_oversize_claim_is_answered_and_closed() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    probe.add(1, 2).await.unwrap();
    let took = tokio::task::spawn_blocking(move || {
        let mut raw = Raw::greeted(&name, "Probe");
        let start = Instant::now();
        raw.send(&u32::MAX.to_le_bytes());
        let close = raw.to_the_end().pop().expect("it is answered");
        assert_eq!(close.kind, kind::CLOSE);
        assert!(close.words().contains("the limit is 16777216"), "{}", close.words());
        start.elapsed()
    });
    let took = took.await.unwrap();
    println!("answered and closed within {took:?}");
    assert!(took < at_most(Duration::from_millis(100)), "{took:?}");
    assert_eq!(probe.add(1, 2).await, Ok(3));
}
