//! The feature `opentelemetry`: the spans of two processes are one trace. This program is
//! the client, and runs itself as the server.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use opentelemetry::trace::{SpanId, SpanKind, TraceId, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use panpipe::Server;
use tracing::{Instrument, info_span};
use tracing_subscriber::layer::SubscriberExt;

#[panpipe::service]
trait Traced {
    /// The trace of the call.
    async fn seen(&self) -> Option<String>;
}

struct Tracing;

impl Traced for Tracing {
    async fn seen(&self) -> Option<String> {
        async { panpipe::call::trace().map(|trace| trace.to_string()) }.instrument(info_span!("inside")).await
    }
}

/// What is exported of one span.
#[derive(Debug, PartialEq)]
struct Exported {
    name: String,
    trace: TraceId,
    span: SpanId,
    parent: SpanId,
    kind: String,
}

impl Exported {
    fn line(&self) -> String {
        format!("{} {} {} {} {}", self.name, self.trace, self.span, self.parent, self.kind)
    }

    fn parse(line: &str) -> Exported {
        let words: Vec<_> = line.split_whitespace().collect();
        let [name, trace, span, parent, kind] = words[..] else { panic!("{line}") };
        Exported {
            name: name.to_owned(),
            trace: TraceId::from_hex(trace).unwrap(),
            span: SpanId::from_hex(span).unwrap(),
            parent: SpanId::from_hex(parent).unwrap(),
            kind: kind.to_owned(),
        }
    }
}

/// Has this process export its spans, to be looked at.
fn export() -> impl Fn() -> Vec<Exported> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("panpipe"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    move || {
        provider.force_flush().unwrap();
        let spans = exporter.get_finished_spans().unwrap();
        let exported = spans.into_iter().map(|span| Exported {
            name: span.name.to_string(),
            trace: span.span_context.trace_id(),
            span: span.span_context.span_id(),
            parent: span.parent_span_id,
            kind: match span.span_kind {
                SpanKind::Client => "client".to_owned(),
                SpanKind::Server => "server".to_owned(),
                _ => "other".to_owned(),
            },
        });
        exported.collect()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    match std::env::var("PANPIPE_TEST_NAME") {
        Ok(name) => serve(&name).await,
        Err(_) => {
            let call =
                tokio::time::timeout(Duration::from_secs(60), the_spans_of_two_processes_are_one_trace());
            call.await.expect("it does not hang");
            println!("test the_spans_of_two_processes_are_one_trace ... ok");
        }
    }
}

/// Serves until the standard input ends, then prints its spans.
async fn serve(name: &str) {
    let spans = export();
    let server = Server::bind(name).service(Tracing.serve()).start().unwrap();
    println!("ready");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    server.shutdown().await.unwrap();
    spans().iter().for_each(|span| println!("{}", span.line()));
}

async fn the_spans_of_two_processes_are_one_trace() {
    let spans = export();
    let name = format!("test.opentelemetry.{}", std::process::id());
    let mut server = Command::new(std::env::current_exe().unwrap())
        .env("PANPIPE_TEST_NAME", &name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");

    let traced = TracedClient::connect(&name).await.unwrap();
    let around = async { traced.seen().await }.instrument(info_span!("around"));
    let seen = around.await.unwrap().unwrap();
    drop(traced);
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
    let theirs: Vec<_> = lines.map(|line| Exported::parse(&line.unwrap())).collect();
    let ours = spans();

    let find = |spans: &[Exported], name: &str| spans.iter().position(|span| span.name == name).unwrap();
    let (around, call) = (&ours[find(&ours, "around")], &ours[find(&ours, "call")]);
    let (handle, inside) = (&theirs[find(&theirs, "handle")], &theirs[find(&theirs, "inside")]);
    assert_eq!(around.parent, SpanId::INVALID);
    assert_eq!(call.parent, around.span);
    assert_eq!((call.kind.as_str(), handle.kind.as_str()), ("client", "server"));
    assert_eq!(handle.parent, call.span);
    assert_eq!(inside.parent, handle.span);
    for span in [call, handle, inside] {
        assert_eq!(span.trace, around.trace);
    }
    assert_eq!(seen, format!("00-{}-{}-01", handle.trace, handle.span));
}
