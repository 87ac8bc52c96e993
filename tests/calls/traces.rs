//! Traces: from process to process, and the spans that show them.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use panpipe::{CallError, TraceContext};
use panpipe_tests::probe::ProbeClient;
use panpipe_tests::raw::{self, Raw, kind};
use panpipe_tests::spans::{self, Ended};
use panpipe_tests::tracer::{Tracer, TracerClient, Tracing};
use panpipe_tests::unique_name;

use crate::hooked::hooked;

/// The parts of a `traceparent`: the trace, the span, the flags.
fn parts(traceparent: &str) -> (String, String, String) {
    let parts: Vec<_> = traceparent.split('-').map(str::to_owned).collect();
    let [version, trace, span, flags] = &parts[..] else { panic!("{traceparent}") };
    assert_eq!((version.as_str(), trace.len(), span.len()), ("00", 32, 16));
    (trace.clone(), span.clone(), flags.clone())
}

fn tracer(name: &str) -> impl Future<Output = TracerClient> + use<> {
    let connect = TracerClient::connect(name);
    async { connect.await.unwrap() }
}

fn only(spans: &Mutex<Vec<Ended>>) -> Ended {
    let spans = std::mem::take(&mut *spans.lock().unwrap());
    let [span] = &spans[..] else { panic!("one span ends: {spans:?}") };
    span.clone()
}

#[tokio::test]
async fn the_spans_of_both_processes_have_one_trace() {
    let (server, name) = hooked(&["spans"]);
    let tracer = tracer(&name).await;
    let (spans, _subscribed) = spans::collect();
    // The first call of a connection too.
    let seen = tracer.seen().await.unwrap().expect("the call belongs to a trace");
    let (call, handle) = (only(&spans), Ended::parse(&server.line()));
    assert_eq!((call.name.as_str(), call.method.as_str()), ("call", "Tracer.seen"));
    assert_eq!((handle.name.as_str(), handle.method.as_str()), ("handle", "Tracer.seen"));
    assert_eq!((call.outcome.as_str(), handle.outcome.as_str()), ("value", "value"));
    assert!(call.peer.contains(&server.id().to_string()), "{call:?}");
    assert_eq!(call.trace_id, handle.trace_id);
    assert_eq!(parts(&seen).0, call.trace_id);
    // Each call that begins here begins a trace.
    let again = tracer.seen().await.unwrap().unwrap();
    assert_ne!(parts(&again).0, parts(&seen).0);
    assert_eq!(only(&spans).trace_id, Ended::parse(&server.line()).trace_id);
}

#[tokio::test]
async fn what_a_call_came_to_stands_in_its_span() {
    let (server, name) = hooked(&["spans", "rules"]);
    let (spans, _subscribed) = spans::collect();
    let connection = panpipe::connect(&name).await.unwrap();
    let tracer: TracerClient = connection.client().await.unwrap();
    let probe: ProbeClient = connection.client().await.unwrap();
    assert!(matches!(tracer.seen().await, Err(CallError::Refused(_))));
    assert!(tracer.fail().await.is_err());
    drop(tracer.log());
    tracer.note().await.unwrap();
    assert_eq!(probe.panic(true).await, Err(CallError::Panicked));
    let hasty = probe.with_timeout(std::time::Duration::from_millis(20));
    assert_eq!(hasty.wait(10_000).await, Err(CallError::DeadlineExceeded));
    let outcomes: Vec<_> = spans.lock().unwrap().iter().map(|span| span.outcome.clone()).collect();
    assert_eq!(outcomes, ["refused", "error", "cancelled", "done", "panicked", "deadline_exceeded"]);
    let of_server: Vec<_> = (0..5).map(|_| Ended::parse(&server.line()).outcome).collect();
    assert_eq!(of_server[..4], ["refused", "error", "done", "panicked"]);
    // The caller gives up first, or the server does.
    assert!(matches!(of_server[4].as_str(), "cancelled" | "deadline_exceeded"), "{of_server:?}");
}

#[tokio::test]
async fn a_trace_passes_through_three_processes() {
    let (first, name) = hooked(&["spans"]);
    let (second, other) = hooked(&["spans"]);
    let (spans, _subscribed) = spans::collect();
    let tracer = tracer(&name).await;
    let seen = tracer.through(other).await.unwrap().expect("the last call belongs to a trace");
    let here = only(&spans);
    let call = Ended::parse(&first.line());
    let handle = Ended::parse(&first.line());
    let last = Ended::parse(&second.line());
    assert_eq!((call.name.as_str(), call.method.as_str()), ("call", "Tracer.seen"));
    assert_eq!((handle.name.as_str(), handle.method.as_str()), ("handle", "Tracer.through"));
    for span in [&call, &handle, &last] {
        assert_eq!(span.trace_id, here.trace_id);
    }
    assert_eq!(parts(&seen).0, here.trace_id);
}

#[tokio::test]
async fn a_process_that_nobody_watches_passes_a_trace_on_as_it_is() {
    let (_first, name) = hooked(&[]);
    let (_second, other) = hooked(&[]);
    let tracer = tracer(&name).await;
    // Nobody asks for traces: there are none.
    assert_eq!(tracer.seen().await, Ok(None));
    assert_eq!(tracer.through(other.clone()).await, Ok(None));
    let (spans, _subscribed) = spans::collect();
    let seen = tracer.seen().await.unwrap().unwrap();
    assert_eq!(parts(&seen).0, only(&spans).trace_id);
    let through = tracer.through(other).await.unwrap().unwrap();
    let (trace, span, flags) = parts(&through);
    assert_eq!((trace, flags.as_str()), (only(&spans).trace_id, "01"));
    assert_ne!(span, parts(&seen).1);
    // One-way calls too.
    tracer.note().await.unwrap();
    let noted = tracer.noted().await.unwrap().unwrap();
    assert_eq!(parts(&noted).0, spans.lock().unwrap()[0].trace_id);
}

/// A service that is given a client of another.
#[panpipe::service]
pub trait Asker {
    /// What the other sees.
    async fn ask(&self, tracer: TracerClient) -> Option<String>;
}

struct Asking;

impl Asker for Asking {
    async fn ask(&self, tracer: TracerClient) -> Option<String> {
        tracer.seen().await.ok()?
    }
}

#[tokio::test]
async fn a_relayed_call_belongs_to_the_trace_of_the_call_that_it_answers() {
    let (_other, name) = hooked(&[]);
    let other = tracer(&name).await;
    let (one, end) = tokio::io::duplex(1000);
    tokio::spawn(panpipe::serve_stream(end, Asking.serve()));
    let (spans, _subscribed) = spans::collect();
    // The handler calls back, and this side passes that on to the other process.
    let seen = AskerClient::over(one).ask(other).await.unwrap().unwrap();
    let spans = spans.lock().unwrap();
    assert_eq!(spans.last().unwrap().method, "Asker.ask");
    assert!(spans.iter().all(|span| span.trace_id == parts(&seen).0), "{spans:?}");
}

#[tokio::test]
async fn what_a_handler_logs_stands_in_its_span_however_often_it_is_polled() {
    let (server, name) = hooked(&["spans"]);
    let tracer = tracer(&name).await;
    tracer.log().await.unwrap();
    let span = Ended::parse(&server.line());
    assert_eq!((span.method.as_str(), span.events), ("Tracer.log", 2));
}

#[tokio::test]
async fn a_local_clients_handler_is_in_its_callers_span() {
    let (spans, _subscribed) = spans::collect();
    let tracer = TracerClient::local(Tracing::default());
    let seen = tracer.seen().await.unwrap().unwrap();
    assert_eq!(parts(&seen).0, only(&spans).trace_id);
    tracer.log().await.unwrap();
    assert_eq!(only(&spans).events, 2);
}

#[tokio::test]
async fn a_trace_goes_with_tarpcs_context_and_comes_with_it() {
    use futures::StreamExt;
    use tarpc::server::Channel;
    let (one, other) = tarpc::transport::channel::unbounded();
    let requests = tarpc::server::BaseChannel::with_defaults(other).execute(Tracing::default().serve());
    tokio::spawn(requests.for_each(|handler| async {
        tokio::spawn(handler);
    }));
    let stub = tarpc::client::new(tarpc::client::Config::default(), one).spawn();
    let (tracer, calls) = panpipe::tarpc::client::<TracerClient, _>(stub);
    tokio::spawn(calls);
    assert_eq!(tracer.fail().await, Err(CallError::App("as it was asked to".to_owned())));
    let (spans, _subscribed) = spans::collect();
    let seen = tracer.seen().await.unwrap().unwrap();
    assert_eq!(parts(&seen).0, only(&spans).trace_id);
    assert_eq!(parts(&seen).2, "01");
}

/// A service that calls another, whose bytes the test looks at.
#[panpipe::service]
pub trait Forward {
    /// Calls the other.
    async fn forward(&self) -> u8;
}

struct Forwarder {
    to: ForwardClient,
}

impl Forward for Forwarder {
    async fn forward(&self) -> u8 {
        let trace = panpipe::call::trace();
        assert_eq!(trace, Some(TraceContext { trace_id: 0xab << 120 | 0xcd, span_id: 7, sampled: false }));
        self.to.forward().await.unwrap_or(0)
    }
}

#[tokio::test]
async fn the_bytes_of_a_trace_are_those_of_the_text_and_only_who_takes_them_gets_them() {
    for takes in [true, false] {
        let pair = || {
            let (one, other) = UnixStream::pair().unwrap();
            one.set_nonblocking(true).unwrap();
            (tokio::net::UnixStream::from_std(one).unwrap(), Raw::over(other))
        };
        let ((served, mut caller), (called, mut server)) = (pair(), pair());
        let forwarder = Forwarder { to: ForwardClient::over(called) };
        tokio::spawn(panpipe::serve_stream(served, forwarder.serve()));
        let trace = raw::trace(0xab << 120 | 0xcd, 7, 0xfe);
        let frames = tokio::task::spawn_blocking(move || {
            caller.send(raw::MAGIC);
            caller.send(&raw::hello("Forward", 1));
            caller.send(&raw::traced(kind::CALL, 0, &trace, "forward()->u8"));
            server.expect_magic();
            assert_eq!(server.frame().kind, kind::HELLO);
            server.send(raw::MAGIC);
            let mut hello = raw::server_hello("Forward");
            // The features, behind the length, kind, port, id, protocol and codec.
            hello[9] = u8::from(takes);
            server.send(&hello);
            let call = server.frame();
            server.send(&raw::frame(kind::REPLY, 0, &[0, 9]));
            caller.expect_magic();
            assert_eq!(caller.frame().kind, kind::HELLO);
            (call, caller.frame().body)
        });
        let (call, reply) = frames.await.unwrap();
        assert_eq!(reply, [0, 9]);
        let plain = [&raw::method("forward()->u8").to_le_bytes()[..], &[0]].concat();
        if takes {
            // Flags that nobody knows are not passed on.
            let expected = [raw::trace(0xab << 120 | 0xcd, 7, 0), plain].concat();
            assert_eq!((call.kind, call.body), (kind::CALL | kind::TRACED, expected));
        } else {
            assert_eq!((call.kind, call.body), (kind::CALL, plain));
        }
    }
}

#[test]
fn a_trace_that_cannot_be_read_or_belongs_to_no_call_is_a_violation() {
    let (_server, name) = hooked(&[]);
    let seen = "seen()->Option<String>";
    let cut = raw::frame(kind::CALL | kind::TRACED, 0, &[1; 24]);
    for (bytes, words) in [
        (raw::traced(kind::CALL, 0, &raw::trace(0, 7, 1), seen), "trace"),
        (raw::traced(kind::CALL, 0, &raw::trace(7, 0, 1), seen), "trace"),
        (raw::traced(kind::ONEWAY, 0, &raw::trace(0, 7, 1), "oneway note()"), "trace"),
        (cut, "trace"),
        (raw::frame(kind::CALL | kind::TRACED, 0, &[1; 25]), "head"),
        (raw::frame(kind::REPLY | kind::TRACED, 0, &[0]), "is no call"),
        (raw::frame(kind::PART | kind::TRACED, 0, &[0]), "is no call"),
        (raw::frame(kind::CANCEL | kind::TRACED, 0, &[]), "is no call"),
    ] {
        let mut raw = Raw::greeted(&name, "Tracer");
        raw.send(&bytes);
        let close = raw.to_the_end().pop().expect("a reason comes before the end");
        assert_eq!(close.kind, kind::CLOSE, "{close:?}");
        assert!(close.words().contains(words), "{words:?} is not in {:?}", close.words());
    }
}

#[tokio::test]
async fn who_subscribes_to_less_gets_no_spans_and_begins_no_trace() {
    let name = unique_name("quiet");
    let server = panpipe::Server::bind(&name).service(Tracing::default().serve()).start().unwrap();
    let tracer = tracer(&name).await;
    let told: Arc<Mutex<Vec<Ended>>> = Arc::default();
    let list = Arc::clone(&told);
    use tracing_subscriber::layer::SubscriberExt;
    let info = tracing_subscriber::filter::LevelFilter::INFO;
    let subscriber = spans::subscriber(move |span| list.lock().unwrap().push(span)).with(info);
    let _subscribed = tracing::subscriber::set_default(subscriber);
    assert_eq!(tracer.seen().await, Ok(None));
    assert_eq!(*told.lock().unwrap(), []);
    server.shutdown().await.unwrap();
}
