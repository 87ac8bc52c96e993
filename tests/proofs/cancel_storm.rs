//! Proof 12: calls that are dropped as soon as they are made.

use futures::FutureExt;
use panpipe_tests::{PATIENCE, eventually, p99_bound, p99_of_calls, times};

use crate::common::{client, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proof_12_a_storm_of_calls_and_cancels_stays_under_the_cap() {
    let (_server, name) = server(&["max_calls=64"]);
    let (stormy, neighbour) = (client(&name).await, client(&name).await);
    stormy.add(1, 1).await.unwrap();
    let before = p99_of_calls(&neighbour, || true).await;
    let storm = tokio::spawn(async move {
        for index in 0..times(30_000, 100_000) {
            // Polled once and dropped; now and then one is waited for.
            let _ = stormy.hang().now_or_never();
            if index % 100 == 0 {
                assert_eq!(stormy.add(index as u64, 1).await, Ok(index as u64 + 1));
            }
        }
    });
    let during = p99_of_calls(&neighbour, || storm.is_finished()).await;
    storm.await.unwrap();
    let counts = neighbour.counts().await.unwrap();
    println!("p99 of a neighbour: {before:?} before, {during:?} meanwhile; {counts:?}");
    assert!(counts.started > 1000, "{counts:?}");
    assert!(counts.most <= 64, "{counts:?}");
    assert!(during < p99_bound(before, 3), "{during:?} against {before:?}");
    eventually("all are dropped", PATIENCE, async || neighbour.counts().await.unwrap().running == 0).await;
}
