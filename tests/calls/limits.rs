//! Caps: of a message's size, of calls at once, of clients.

use std::time::Duration;

use futures::future::{join_all, poll_immediate};
use panpipe::{CallError, Limits, RefusalReason};
use panpipe_tests::probe::ProbeClient;
use panpipe_tests::raw::{self, Raw};
use panpipe_tests::{PATIENCE, eventually};

use crate::common::{client, server};

#[tokio::test]
async fn a_call_that_is_too_large_fails_by_its_size_and_nothing_is_lost() {
    let (_server, name) = server(&["max_message=100000"]);
    let probe = client(&name).await;
    assert_eq!(probe.add(1, 2).await, Ok(3));
    let Err(CallError::TooLarge { size, limit }) = probe.echo(vec![0; 200_000]).await else {
        panic!("it was sent")
    };
    assert!(size > 200_000 && limit == 100_000, "{size} {limit}");
    assert_eq!(probe.echo(vec![1; 90_000]).await.map(|echo| echo.len()), Ok(90_000));
}

#[tokio::test]
async fn a_reply_that_is_too_large_fails_by_its_size_and_nothing_is_lost() {
    let (_server, name) = server(&[]);
    let limits = Limits { max_message: 100_000, ..Limits::default() };
    let probe = ProbeClient::connect(&name).limits(limits).await.unwrap();
    let Err(CallError::TooLarge { size, limit }) = probe.large(200_000).await else { panic!("it came") };
    assert!(size > 200_000 && limit == 100_000, "{size} {limit}");
    assert_eq!(probe.large(90_000).await.map(|reply| reply.len()), Ok(90_000));
}

#[tokio::test]
async fn the_first_call_may_be_larger_than_a_first_message() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    assert_eq!(probe.echo(vec![3; 1_000_000]).await.map(|echo| echo.len()), Ok(1_000_000));
}

#[tokio::test]
async fn calls_over_the_cap_wait_with_their_caller() {
    let (_server, name) = server(&["max_calls=4"]);
    let (probe, other) = (client(&name).await, client(&name).await);
    let mut hanging = tokio::task::JoinSet::new();
    let first = hanging.spawn(probe.hang());
    (1..4).for_each(|_| drop(hanging.spawn(probe.hang())));
    eventually("four run", PATIENCE, async || other.counts().await.unwrap().running == 4).await;
    let mut fifth = Box::pin(probe.add(1, 2));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut fifth).await.is_err());
    // One that waits is none that was sent.
    let hasty = probe.with_timeout(Duration::from_millis(20));
    assert_eq!(hasty.add(1, 2).await, Err(CallError::DeadlineExceeded));
    first.abort();
    assert_eq!(fifth.await, Ok(3));
    assert_eq!(other.counts().await.unwrap().most, 4);
}

#[tokio::test]
async fn a_thousand_calls_through_a_cap_of_three_all_succeed() {
    let (_server, name) = server(&["max_calls=3"]);
    let (probe, other) = (client(&name).await, client(&name).await);
    let calls = join_all((0..1000).map(|_| probe.wait(0))).await;
    assert!(calls.iter().all(|call| *call == Ok(0)));
    assert!(other.counts().await.unwrap().most <= 3);
}

#[tokio::test]
async fn one_client_too_many_is_refused_in_words_until_another_goes() {
    let (_server, name) = server(&["max_clients=2"]);
    let (one, two) = (client(&name).await, client(&name).await);
    one.add(1, 1).await.unwrap();
    two.add(1, 1).await.unwrap();
    let Err(CallError::Refused(refusal)) = client(&name).await.add(1, 1).await else {
        panic!("it was served")
    };
    assert_eq!(refusal.reason, RefusalReason::Overloaded);
    assert!(refusal.message.contains("2 clients"), "{refusal}");
    drop(one);
    eventually("there is room", PATIENCE, async || client(&name).await.add(1, 1).await.is_ok()).await;
}

#[tokio::test]
async fn the_call_that_is_one_too_many_of_all_clients_is_told_and_nobody_else() {
    let (_server, name) = server(&["max_calls_in_all=4"]);
    let (one, two) = (client(&name).await, client(&name).await);
    let five = async |probe: &panpipe_tests::probe::ProbeClient| probe.add(1, 2).await;
    // Once both have said hello a connection's calls are taken in their order. None is made
    // beside those that are to hang: it might have the place of one of them.
    assert_eq!((five(&one).await, five(&two).await), (Ok(3), Ok(3)));
    let mut hanging = tokio::task::JoinSet::new();
    let mut hang = Box::pin(one.hang());
    assert_eq!(poll_immediate(&mut hang).await, None);
    let first = hanging.spawn(hang);
    assert_eq!(five(&one).await, Ok(3));
    for _ in 0..3 {
        let mut hang = Box::pin(two.hang());
        assert_eq!(poll_immediate(&mut hang).await, None);
        hanging.spawn(hang);
    }
    // The fifth is refused, whosever it is, and runs nowhere.
    assert_eq!(five(&two).await, Err(CallError::Overloaded));
    assert_eq!(five(&one).await, Err(CallError::Overloaded));
    assert_eq!(hanging.try_join_next().map(|ended| format!("{ended:?}")), None);
    first.abort();
    eventually("there is room again", PATIENCE, async || five(&two).await == Ok(3)).await;
    assert_eq!(five(&one).await, Ok(3));
    // What a client that goes was running is given back.
    drop((hanging, two));
    eventually("all places are free", PATIENCE, async || {
        let calls = (0..4).map(|_| one.wait(20));
        join_all(calls).await.iter().all(Result::is_ok)
    })
    .await;
}

#[tokio::test]
async fn clients_that_are_refused_take_no_place_from_others() {
    let (_server, name) = server(&["max_clients=2"]);
    let (one, two) = (client(&name).await, client(&name).await);
    one.add(1, 1).await.unwrap();
    two.add(1, 1).await.unwrap();
    // They are told, and do not go.
    let mut refused = Vec::new();
    for _ in 0..20 {
        let raw = Raw::connect(&name);
        refused.push(raw);
    }
    for raw in &mut refused {
        raw.expect_magic();
        assert_eq!(raw.frame().kind, raw::kind::REFUSE);
    }
    drop(one);
    eventually("there is room", PATIENCE, async || client(&name).await.add(1, 1).await.is_ok()).await;
}
