//! Rules of who may call what, before anything is decoded.

use std::time::Duration;

use panpipe::{CallError, RefusalReason, ServiceClient};
use panpipe_tests::probe::{Nested, Odd, ProbeClient};
use panpipe_tests::raw::{self, Raw, kind};
use panpipe_tests::studio::StudioClient;
use panpipe_tests::tracer::TracerClient;

use crate::common::client;
use crate::hooked::hooked;

/// The words of a call that was denied.
fn denied<T: std::fmt::Debug>(result: Result<T, CallError>) -> String {
    match result {
        Err(CallError::Refused(refusal)) if refusal.reason == RefusalReason::NotAllowed => refusal.message,
        other => panic!("it was not denied: {other:?}"),
    }
}

#[tokio::test]
async fn a_denied_call_is_told_why_in_the_rules_words_and_is_not_run() {
    let (_server, name) = hooked(&["rules"]);
    let probe = client(&name).await;
    let words = denied(probe.hang().await);
    let me = format!("process {}", std::process::id());
    assert!(words.contains("Probe.hang") && words.contains(&me) && words.ends_with("None"), "{words}");
    let words = denied(probe.with_timeout(Duration::from_secs(50)).hang().await);
    assert!(words.contains("until Some"), "{words}");
    assert_eq!(probe.counts().await.unwrap().started, 0);
    // The connection and the other methods are as they were.
    assert_eq!(probe.add(1, 2).await, Ok(3));
    assert_eq!(probe.close_reason(), None);
}

#[tokio::test]
async fn nothing_of_a_denied_call_is_decoded() {
    let (_server, name) = hooked(&["rules"]);
    let probe = client(&name).await;
    // Whoever decoded these would panic, or fail.
    denied(probe.odd(Odd::PanicsInDecode).await);
    denied(probe.odd(Odd::FailsToDecode).await);
    let bytes = tokio::task::spawn_blocking(move || {
        let mut raw = Raw::greeted(&name, "Probe");
        raw.send(&raw::call(0, "echo(Vec<u8>)->Vec<u8>", 0, b"no arguments"));
        // An unknown method is unknown, whatever the rule says.
        raw.send(&raw::call(1, "hang(u8)->()", 0, &[]));
        [raw.frame(), raw.frame()]
    });
    let [refused, unknown] = bytes.await.unwrap();
    assert_eq!((refused.kind, refused.id, &refused.body[..2]), (kind::REPLY, 0, &[10, 5][..]));
    assert_eq!((unknown.kind, unknown.id, &unknown.body[..]), (kind::REPLY, 1, &[7][..]));
}

#[tokio::test]
async fn a_denied_one_way_call_is_dropped() {
    let (_server, name) = hooked(&["rules"]);
    let probe = client(&name).await;
    for x in 0..2000 {
        probe.note(x).await.unwrap();
    }
    // They would have run before this one.
    assert!(probe.notes().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_rule_that_panics_denies_and_the_server_lives_on() {
    let (_server, name) = hooked(&["rules"]);
    let probe = client(&name).await;
    let words = denied(probe.depth(Nested::deep(3)).await);
    assert!(words.contains("panicked"), "{words}");
    assert_eq!(probe.add(1, 2).await, Ok(3));
}

#[tokio::test]
async fn a_service_at_another_port_is_under_the_same_rule() {
    let (_server, name) = hooked(&["rules"]);
    let connection = panpipe::connect(&name).await.unwrap();
    let probe: ProbeClient = connection.client().await.unwrap();
    let studio: StudioClient = connection.client().await.unwrap();
    denied(probe.hang().await);
    assert_eq!(studio.echo(7).await, Ok(7));
    // So is one that was passed as a value.
    let tracer: TracerClient = connection.client().await.unwrap();
    let passed = tracer.pass().await.unwrap();
    assert_eq!(denied(passed.seen().await), "nobody is to see");
    assert_eq!(passed.noted().await, Ok(None));
}

#[tokio::test]
async fn what_a_denied_call_carries_is_given_up() {
    #[panpipe::service]
    trait Taker {
        async fn take(&self, numbers: panpipe::Streaming<u64>) -> u64;
    }
    struct Never;
    impl Taker for Never {
        async fn take(&self, _: panpipe::Streaming<u64>) -> u64 {
            unreachable!("it is not allowed")
        }
    }
    let name = panpipe_tests::unique_name("taker");
    let server = panpipe::Server::bind(&name)
        .service(Never.serve())
        .authorize(|_| Ok::<(), String>(()))
        .authorize(|_| Err("nothing is taken"))
        .start()
        .unwrap();
    let connection = panpipe::connect(&name).await.unwrap();
    let taker: TakerClient = connection.client().await.unwrap();
    let dropped = std::sync::Arc::new(());
    let held = std::sync::Arc::clone(&dropped);
    let numbers = futures::stream::iter(0..).map(move |x| {
        let _ = &held;
        x
    });
    use futures::StreamExt;
    assert_eq!(denied(taker.take(panpipe::Streaming::new(numbers)).await), "nothing is taken");
    panpipe_tests::eventually("the stream is dropped", panpipe_tests::PATIENCE, async || {
        std::sync::Arc::strong_count(&dropped) == 1
    })
    .await;
    server.shutdown().await.unwrap();
}
