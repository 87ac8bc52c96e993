//! Proof 14: handlers that panic.

use std::time::{Duration, Instant};

use futures::future::join_all;
use panpipe::{CallError, ServiceClient};
use panpipe_tests::at_most;

use crate::common::{client, server};

#[tokio::test]
async fn proof_14_a_thousand_panics_are_a_thousand_errors_and_nothing_else() {
    let (server, name) = server(&[]);
    let probe = client(&name).await;
    let neighbour = client(&name).await;
    let calls = (0..1000).map(|x| {
        let call = probe.panic(x % 2 == 0);
        async move {
            let start = Instant::now();
            (call.await, start.elapsed())
        }
    });
    let results = join_all(calls).await;
    assert!(results.iter().all(|(result, _)| *result == Err(CallError::Panicked)));
    let slowest = results.iter().map(|(_, took)| *took).max().unwrap();
    println!("the slowest of 1000 panics: {slowest:?}");
    assert!(slowest < at_most(Duration::from_millis(100)), "{slowest:?}");
    assert_eq!(probe.add(1, 2).await, Ok(3));
    assert_eq!(neighbour.add(1, 2).await, Ok(3));
    assert_eq!((probe.close_reason(), neighbour.close_reason()), (None, None));
    assert!(server.finish().success());
}
