//! Proof 13: the caller's future dropped wherever it can be.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use panpipe_tests::probe::ProbeClient;

use crate::common::{client, server};

/// Polls a future so often, then drops it.
struct PolledTimes<F> {
    future: Option<Pin<Box<F>>>,
    left: u32,
}

impl<F: Future> Future for PolledTimes<F> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        if self.left == 0 {
            self.future = None;
            return Poll::Ready(false);
        }
        self.left -= 1;
        match self.future.as_mut().map(|future| future.as_mut().poll(cx)) {
            Some(Poll::Ready(_)) => Poll::Ready(true),
            _ => {
                // Polled again whether or not anything has happened: between any
                // two steps of the connection there is a poll, and a drop.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

fn polled<F: Future>(future: F, left: u32) -> PolledTimes<F> {
    PolledTimes { future: Some(Box::pin(future)), left }
}

async fn ten_thousand_more(probe: &ProbeClient) {
    for chunk in 0..100 {
        let calls = (0..100).map(|x| probe.add(chunk * 100 + x, 1_000_000));
        for (x, sum) in futures::future::join_all(calls).await.into_iter().enumerate() {
            assert_eq!(sum, Ok(chunk * 100 + x as u64 + 1_000_000));
        }
    }
}

#[tokio::test]
async fn proof_13_wherever_a_call_is_dropped_all_others_get_their_own_replies() {
    let (_server, name) = server(&["max_calls=8"]);
    let probe = client(&name).await;
    let mut finished = 0;
    for point in 0..1000 {
        let beside: Vec<_> = (0..4).map(|x| tokio::spawn(probe.add(point, x))).collect();
        let (small, large) = (probe.add(point, 7), probe.echo(vec![point as u8; 100_000]));
        let left = (point % 250) as u32;
        finished += u32::from(polled(small, left).await);
        finished += u32::from(polled(large, left).await);
        for (x, call) in beside.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), Ok(point + x as u64));
        }
    }
    println!("{finished} of 2000 calls were over before they were dropped");
    assert!(finished > 10 && finished < 1990, "{finished}");
    ten_thousand_more(&probe).await;
}

#[tokio::test]
async fn proof_13_the_first_call_can_be_dropped_too() {
    let (_server, name) = server(&[]);
    for point in 0..50 {
        let probe = client(&name).await;
        polled(probe.add(1, 2), point).await;
        assert_eq!(probe.add(3, 4).await, Ok(7), "after a drop at {point}");
    }
}
