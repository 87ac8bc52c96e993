//! A call that nobody waits for any more is stopped on the other side.

use panpipe_tests::{PATIENCE, eventually};

use crate::common::{client, server};

#[tokio::test]
async fn dropping_the_future_drops_the_handler() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    let mut calls = tokio::task::JoinSet::new();
    let aborts: Vec<_> = (0..20).map(|_| calls.spawn(probe.hang())).collect();
    eventually("all handlers run", PATIENCE, async || probe.counts().await.unwrap().running == 20).await;
    aborts[5..].iter().for_each(|call| call.abort());
    eventually("fifteen are dropped", PATIENCE, async || probe.counts().await.unwrap().running == 5).await;
    drop(calls);
    eventually("the others too", PATIENCE, async || probe.counts().await.unwrap().running == 0).await;
}

#[tokio::test]
async fn a_call_that_is_never_polled_is_never_made() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    drop(probe.hang());
    assert_eq!(probe.counts().await.unwrap().started, 0);
}

#[tokio::test]
async fn handlers_of_a_client_that_has_gone_are_dropped() {
    let (_server, name) = server(&[]);
    let (going, staying) = (client(&name).await, client(&name).await);
    let call = tokio::spawn(going.hang());
    eventually("it runs", PATIENCE, async || staying.counts().await.unwrap().running == 1).await;
    call.abort();
    drop(going);
    eventually("it is dropped", PATIENCE, async || staying.counts().await.unwrap().running == 0).await;
}
