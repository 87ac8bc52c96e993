//! Proof 16: servers that die under their clients.

use std::time::{Duration, Instant};

use panpipe::CallError;
use panpipe_tests::{PATIENCE, at_most, eventually, times};

use crate::common::{client, server};

#[tokio::test]
async fn proof_16_every_pending_call_of_a_killed_server_ends_and_sent_is_true() {
    for _ in 0..times(10, 200) {
        let (mut server, name) = server(&[]);
        let (probe, other) = (client(&name).await, client(&name).await);
        let calls: Vec<_> = (0..50).map(|_| tokio::spawn(probe.hang())).collect();
        eventually("all run", PATIENCE, async || other.counts().await.unwrap().running == 50).await;
        server.kill();
        let start = Instant::now();
        for call in calls {
            assert_eq!(call.await.unwrap(), Err(CallError::Disconnected { sent: true }));
        }
        assert_eq!(probe.hang().await, Err(CallError::Disconnected { sent: false }));
        let took = start.elapsed();
        assert!(took < at_most(Duration::from_secs(1)), "{took:?}");
    }
}

#[tokio::test]
async fn proof_16_what_never_left_is_told_as_unsent() {
    for _ in 0..times(5, 50) {
        let (mut server, name) = server(&[]);
        let probe = client(&name).await;
        probe.add(1, 1).await.unwrap();
        // Nobody reads from here on: what the socket does not hold stays here.
        server.stop();
        let calls: Vec<_> = (0..60).map(|_| tokio::spawn(probe.echo(vec![1; 100_000]))).collect();
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        server.kill();
        let (mut sent, mut unsent) = (0, 0);
        for call in calls {
            match call.await.unwrap() {
                Err(CallError::Disconnected { sent: true }) => {
                    // What was sent was sent first.
                    assert_eq!(unsent, 0);
                    sent += 1;
                }
                Err(CallError::Disconnected { sent: false }) => unsent += 1,
                other => panic!("{other:?}"),
            }
        }
        // A socket holds some 200 KB of the six MB; another MB was queued here.
        assert!((1..=4).contains(&sent) && unsent > 50, "{sent} sent, {unsent} unsent");
    }
}
