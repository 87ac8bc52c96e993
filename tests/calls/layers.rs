//! Layers around calls, of tower's and of one's own, on either side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use panpipe::layer::{Call, CallLayer};
use panpipe::{CallError, RefusalReason, ServiceClient, Streaming};
use panpipe_tests::layers::{Decide, Tally};
use panpipe_tests::probe::{Nested, Odd, Probe, ProbeClient, ProbeError, Prober};
use panpipe_tests::studio::{StudioClient, numbers};
use panpipe_tests::{PATIENCE, eventually};
use tower::ServiceBuilder;
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;

use crate::common::{client, server};
use crate::hooked::hooked;

/// The words of a call that a layer gave up.
fn given_up<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, CallError<E>>) -> String {
    match result {
        Err(CallError::Refused(refusal)) if refusal.reason == RefusalReason::Layer => refusal.message,
        other => panic!("no layer gave it up: {other:?}"),
    }
}

/// What the tally of a server says when it has ended.
fn tallied(server: panpipe_tests::process::Process) -> Vec<String> {
    let (status, lines) = server.finish_with_lines();
    assert!(status.success());
    lines
}

#[tokio::test]
async fn a_layer_of_the_server_sees_every_call_and_what_it_comes_to() {
    let (server, name) = hooked(&["tally"]);
    let probe = client(&name).await;
    assert_eq!(probe.add(1, 2).await, Ok(3));
    assert_eq!(probe.wait(1).await, Ok(1));
    let why = "why".to_owned();
    assert_eq!(probe.fail(why.clone()).await, Err(CallError::App(ProbeError { why })));
    for late in [false, true] {
        assert_eq!(probe.panic(late).await, Err(CallError::Panicked));
    }
    probe.note(7).await.unwrap();
    assert_eq!(probe.notes().await.unwrap(), [7]);
    let about = probe.about_me().await.unwrap();
    assert_eq!((about.pid, about.method.as_deref()), (Some(std::process::id()), Some("Probe.about_me")));
    drop(probe);
    let lines = tokio::task::spawn_blocking(|| tallied(server)).await.unwrap();
    let panicked = "Probe.panic failed: the handler panicked; the server's own log says where";
    let expected = [
        "Probe.add Value",
        "Probe.wait Value",
        "Probe.fail Error",
        panicked,
        panicked,
        "Probe.note Done",
        "Probe.notes Value",
        "Probe.about_me Value",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn cancellation_and_deadlines_drop_the_layers_futures() {
    let (server, name) = hooked(&["tally"]);
    let probe = client(&name).await;
    let call = tokio::spawn(probe.hang());
    eventually("it runs", PATIENCE, async || probe.counts().await.unwrap().running == 1).await;
    call.abort();
    eventually("it is dropped", PATIENCE, async || probe.counts().await.unwrap().running == 0).await;
    let hasty = probe.with_timeout(Duration::from_millis(30));
    assert_eq!(hasty.hang().await, Err(CallError::DeadlineExceeded));
    eventually("it is dropped too", PATIENCE, async || probe.counts().await.unwrap().running == 0).await;
    drop((probe, hasty));
    let lines = tokio::task::spawn_blocking(|| tallied(server)).await.unwrap();
    assert_eq!(lines.iter().filter(|line| *line == "Probe.hang dropped").count(), 2);
}

#[tokio::test]
async fn what_a_layer_says_instead_is_the_callers_error() {
    let (_server, name) = hooked(&["decide"]);
    let probe = client(&name).await;
    assert_eq!(given_up(probe.fail("x".to_owned()).await), "it failed: the layer would not");
    let first = probe.first(vec![1].into(), 1).await;
    let Err(CallError::Refused(refusal)) = first else { panic!("it was served: {first:?}") };
    assert_eq!(refusal.reason, RefusalReason::NotAllowed);
    assert!(refusal.message.contains(&std::process::id().to_string()), "{refusal}");
    assert_eq!(probe.depth(Nested::deep(1)).await, Err(CallError::Overloaded));
    assert!(given_up(probe.r#type(1).await).contains("had not passed on"));
    // A panic in the layer, at once and later.
    assert_eq!(probe.impatient().await, Err(CallError::Panicked));
    assert_eq!(probe.odd(Odd::Fine).await, Err(CallError::Panicked));
    // A one-way call is dropped.
    probe.note(1).await.unwrap();
    assert!(probe.notes().await.unwrap().is_empty());
    assert_eq!(probe.add(1, 2).await, Ok(3));
    assert_eq!(probe.close_reason(), None);
}

#[tokio::test]
async fn what_a_layer_does_behind_the_reply_touches_no_other_call() {
    let (_server, name) = hooked(&["decide"]);
    let probe = client(&name).await;
    // The ids of calls whose layers fail, panic or linger are used again at once: a
    // second reply, or a stop that is taken for theirs, would be another call's.
    for _ in 0..20 {
        assert_eq!(probe.large(10).await, Ok(vec![7; 10]));
        assert_eq!(probe.wait(20).await, Ok(20));
        assert_eq!(probe.echo(vec![1, 2]).await, Ok(vec![1, 2]));
        assert_eq!(probe.fail_bytes(String::new()).await, Ok(vec![1, 2, 3]));
        let hasty = probe.with_timeout(Duration::from_millis(1));
        assert_eq!(hasty.hang().await, Err(CallError::DeadlineExceeded));
    }
    assert_eq!(probe.close_reason(), None);
    // A handler that a layer has put on a task of its own knows its call.
    let about = probe.about_me().await.unwrap();
    assert_eq!((about.pid, about.method.as_deref()), (Some(std::process::id()), Some("Probe.about_me")));
}

#[tokio::test]
async fn a_handler_on_a_task_of_its_own_answers_nobody_once_its_call_is_over() {
    let (_server, name) = hooked(&["decide"]);
    let probe = client(&name).await;
    for _ in 0..20 {
        let hasty = probe.with_timeout(Duration::from_millis(5));
        // It goes on for a while behind its deadline, and then has a result.
        assert_eq!(hasty.wait(20).await, Err(CallError::DeadlineExceeded));
        assert_eq!(probe.counts().await.map(drop), Ok(()));
    }
    eventually("they end", PATIENCE, async || probe.counts().await.unwrap().running == 0).await;
    assert_eq!(probe.add(1, 2).await, Ok(3));
}

#[tokio::test]
async fn towers_concurrency_limit_holds_for_all_clients_together() {
    let (_server, name) = hooked(&["limit=3"]);
    let (one, other) = (client(&name).await, client(&name).await);
    let calls = (0..20).map(|x| if x % 2 == 0 { one.wait(5) } else { other.wait(5) });
    assert!(join_all(calls).await.into_iter().all(|result| result == Ok(5)));
    assert_eq!(one.counts().await.unwrap().most, 3);
}

#[tokio::test]
async fn towers_load_shedding_sees_how_ready_the_layers_inside_are() {
    // Two layers that were given one after the other: the shed asks the limit.
    let (_server, name) = hooked(&["limit=2", "shed"]);
    let probe = client(&name).await;
    let hangs = [tokio::spawn(probe.hang()), tokio::spawn(probe.hang())];
    eventually("there is no room", PATIENCE, async || {
        matches!(probe.add(1, 2).await, Err(CallError::Refused(_)))
    })
    .await;
    let words = given_up(probe.add(1, 2).await);
    assert!(words.contains("overloaded"), "{words}");
    hangs.iter().for_each(|hang| hang.abort());
    eventually("there is room again", PATIENCE, async || probe.add(1, 2).await == Ok(3)).await;
}

#[tokio::test]
async fn towers_timeout_ends_a_handler() {
    let (_server, name) = hooked(&["timeout_ms=100"]);
    let probe = client(&name).await;
    let words = given_up(probe.hang().await);
    assert!(words.contains("timed out"), "{words}");
    eventually("it is dropped", PATIENCE, async || probe.counts().await.unwrap().running == 0).await;
    assert_eq!(probe.wait(1).await, Ok(1));
}

#[tokio::test]
async fn streams_pass_the_layers_of_both_sides() {
    let (_server, name) = hooked(&["tally", "limit=8"]);
    let tally = Tally::default();
    let connection = panpipe::connect(&name).await.unwrap();
    let studio = connection.client::<StudioClient>().await.unwrap().with_layer(tally.clone());
    assert_eq!(studio.sum(numbers(1000)).await, Ok(499_500));
    use futures::StreamExt;
    let counted: Vec<_> = studio.count(100).await.unwrap().collect().await;
    assert_eq!(counted, (0..100).map(Ok).collect::<Vec<_>>());
    let doubled: Streaming<u64> = studio.double(numbers(10)).await.unwrap();
    assert_eq!(doubled.collect::<Vec<_>>().await.len(), 10);
    assert_eq!(tally.lines(), ["Studio.sum Value", "Studio.count Value", "Studio.double Value"]);
}

/// What every client does with a layer around it, whatever carries its calls.
async fn layered(probe: &ProbeClient) {
    let tally = Tally::default();
    let probe = probe.with_layer(tally.clone());
    assert_eq!(probe.add(1, 2).await, Ok(3));
    let why = "why".to_owned();
    assert_eq!(probe.fail(why.clone()).await, Err(CallError::App(ProbeError { why })));
    assert_eq!(probe.panic(true).await, Err(CallError::Panicked));
    probe.note(7).await.unwrap();
    let hasty = probe.with_timeout(Duration::from_millis(20));
    assert_eq!(hasty.hang().await, Err(CallError::DeadlineExceeded));
    drop(probe.hang());
    assert_eq!(tally.lines()[..2], ["Probe.add Value", "Probe.fail Error"]);
    assert!(tally.lines()[2].starts_with("Probe.panic failed"));
    assert_eq!(tally.lines()[3], "Probe.note Done");
    assert_eq!(tally.lines().len(), 5, "{:?}", tally.lines());
    eventually("it is noted", PATIENCE, async || probe.notes().await.unwrap() == [7]).await;
    // What the layer says is the caller's error here too.
    let decided = probe.with_layer(Decide);
    assert_eq!(given_up(decided.fail("x".to_owned()).await), "it failed: the layer would not");
    assert_eq!(decided.depth(Nested::deep(1)).await, Err(CallError::Overloaded));
    assert!(given_up(decided.r#type(1).await).contains("had not passed on"));
    assert_eq!(given_up(decided.large(1).await), "it is too late to say so");
    assert_eq!(given_up(decided.note(8).await), "it will not be noted");
    assert_eq!(decided.add(1, 2).await, Ok(3));
}

#[tokio::test]
async fn clients_take_layers_whatever_carries_their_calls() {
    let (_server, name) = server(&[]);
    layered(&client(&name).await).await;
    let (_server, name) = server(&[]);
    let connection = panpipe::connect(&name).await.unwrap();
    layered(&connection.client().await.unwrap()).await;
    layered(&ProbeClient::local(Prober::default())).await;
    let (one, other) = tarpc::transport::channel::unbounded();
    use futures::StreamExt;
    use tarpc::server::Channel;
    let requests = tarpc::server::BaseChannel::with_defaults(other).execute(Prober::default().serve());
    tokio::spawn(requests.for_each(|handler| async {
        tokio::spawn(handler);
    }));
    let stub = tarpc::client::new(tarpc::client::Config::default(), one).spawn();
    let (probe, calls) = panpipe::tarpc::client::<ProbeClient, _>(stub);
    tokio::spawn(calls);
    layered(&probe).await;
}

#[tokio::test]
async fn a_deadline_counts_while_a_clients_layer_holds_the_call_up() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await.with_layer(ConcurrencyLimitLayer::new(1));
    let hang = tokio::spawn(probe.hang());
    let plain = client(&name).await;
    eventually("it runs", PATIENCE, async || plain.counts().await.unwrap().running == 1).await;
    let hasty = probe.with_timeout(Duration::from_millis(30));
    assert_eq!(hasty.add(1, 2).await, Err(CallError::DeadlineExceeded));
    hang.abort();
    eventually("it is dropped", PATIENCE, async || plain.counts().await.unwrap().running == 0).await;
    assert_eq!(probe.add(1, 2).await, Ok(3));
}

#[tokio::test]
async fn the_deadline_that_travels_is_what_a_layer_has_left_of_it() {
    let (_server, name) = server(&[]);
    let slow = tower::layer::layer_fn(|next: panpipe::layer::Next| {
        tower::service_fn(move |call: Call| {
            let mut next = next.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(200)).await;
                panpipe::layer::Service::call(&mut next, call).await
            }
        })
    });
    let probe = client(&name).await.with_layer(slow).with_timeout(Duration::from_secs(20));
    let left = probe.about_me().await.unwrap().left.unwrap();
    assert!(left <= 19_800, "{left}");
}

#[tokio::test]
async fn the_layer_given_last_sees_a_call_first_and_a_builder_turns_that_round() {
    let probe = ProbeClient::local(Prober::default());
    let order: Arc<std::sync::Mutex<Vec<&str>>> = Arc::default();
    let named = |name: &'static str| {
        let order = Arc::clone(&order);
        tower::layer::layer_fn(move |next: panpipe::layer::Next| {
            let order = Arc::clone(&order);
            tower::service_fn(move |call: Call| {
                order.lock().unwrap().push(name);
                panpipe::layer::Service::call(&mut next.clone(), call)
            })
        })
    };
    let seen = || std::mem::take(&mut *order.lock().unwrap());
    assert_eq!(probe.with_layer(named("a")).with_layer(named("b")).add(1, 2).await, Ok(3));
    assert_eq!(seen(), ["b", "a"]);
    // The clients that it was made of are without it.
    assert_eq!(probe.add(1, 2).await, Ok(3));
    assert_eq!(seen(), [""; 0]);
}

#[tokio::test]
async fn towers_other_layers_are_layers_of_calls() {
    fn is_a_layer(_: &impl CallLayer) {}
    let (_server, name) = server(&[]);
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let filter = tower::filter::FilterLayer::new(move |call: Call| {
        counted.fetch_add(1, Ordering::SeqCst);
        if call.info().method() == "add" { Ok(call) } else { Err("adding is all that is done") }
    });
    let together = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .buffer(8)
        .concurrency_limit(2)
        .timeout(Duration::from_secs(50))
        .layer(filter)
        .into_inner();
    is_a_layer(&together);
    let probe = client(&name).await.with_layer(together);
    assert_eq!(probe.add(1, 2).await, Ok(3));
    assert_eq!(given_up(probe.echo(vec![1]).await), "adding is all that is done");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_client_with_layers_that_is_passed_on_has_them_for_whoever_calls_it() {
    use panpipe_tests::studio::{Ear, Listener, ListenerClient};
    let (_server, name) = hooked(&[]);
    let connection = panpipe::connect(&name).await.unwrap();
    let studio: StudioClient = connection.client().await.unwrap();
    let tally = Tally::default();
    let listener = ListenerClient::offer(Ear::default().serve()).with_layer(tally.clone());
    assert_eq!(studio.call_back(listener, 3).await, Ok(6));
    assert_eq!(tally.lines(), ["Listener.hear Value"; 3]);
    assert_eq!(studio.close_reason(), None);
}
