//! What the feature `metrics` counts.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use panpipe::metrics::{CALL_SECONDS, CALLS_BEGUN, CALLS_ENDED, CONNECTIONS_OPEN, CONNECTIONS_REFUSED};
use panpipe::{CallError, Limits, Server};

/// Keeps every figure by its name and labels.
#[derive(Clone, Default)]
struct Figures {
    all: Arc<Mutex<BTreeMap<String, Arc<Figure>>>>,
}

/// A counter or a gauge; of a histogram how often it was written to.
#[derive(Default)]
struct Figure(AtomicU64);

impl CounterFn for Figure {
    fn increment(&self, by: u64) {
        self.0.fetch_add(by, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::SeqCst);
    }
}

impl GaugeFn for Figure {
    fn increment(&self, by: f64) {
        self.0.fetch_add(by as u64, Ordering::SeqCst);
    }

    fn decrement(&self, by: f64) {
        self.0.fetch_sub(by as u64, Ordering::SeqCst);
    }

    fn set(&self, value: f64) {
        self.0.store(value as u64, Ordering::SeqCst);
    }
}

impl HistogramFn for Figure {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds));
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Figures {
    fn figure(&self, key: &Key) -> Arc<Figure> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        Arc::clone(self.all.lock().unwrap().entry(name).or_default())
    }

    /// What stands under a name and these labels.
    fn get(&self, name: &str, labels: &str) -> u64 {
        let all = self.all.lock().unwrap();
        all.get(&format!("{name} {labels}")).map_or(0, |figure| figure.0.load(Ordering::SeqCst))
    }
}

impl Recorder for Figures {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.figure(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.figure(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.figure(key))
    }
}

#[panpipe::service]
trait Counted {
    async fn add(&self, a: u64, b: u64) -> u64;
    async fn fail(&self) -> Result<(), String>;
    async fn panic(&self);
    async fn hang(&self);
    async fn deny(&self);
    #[oneway]
    async fn note(&self);
}

struct Counting;

impl Counted for Counting {
    async fn add(&self, a: u64, b: u64) -> u64 {
        a + b
    }

    async fn fail(&self) -> Result<(), String> {
        Err("as it was asked to".to_owned())
    }

    async fn panic(&self) {
        panic!("as it was asked to");
    }

    async fn hang(&self) {
        std::future::pending().await
    }

    async fn deny(&self) {}

    async fn note(&self) {}
}

async fn eventually(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn calls_and_connections_are_counted_on_both_sides() {
    let figures = Figures::default();
    metrics::set_global_recorder(figures.clone()).unwrap();
    let get = |name: &str, labels: &str| figures.get(name, labels);

    let name = format!("test.metrics.{}", std::process::id());
    let server = Server::bind(&name)
        .service(Counting.serve())
        .authorize(|call| if call.method() == "deny" { Err("no") } else { Ok(()) })
        .limits(Limits { max_clients: 1, ..Limits::default() })
        .start()
        .unwrap();
    let counted = CountedClient::connect(&name).await.unwrap();
    for x in 0..3 {
        assert_eq!(counted.add(x, 1).await, Ok(x + 1));
    }
    assert!(matches!(counted.fail().await, Err(CallError::App(_))));
    assert_eq!(counted.panic().await, Err(CallError::Panicked));
    assert!(matches!(counted.deny().await, Err(CallError::Refused(_))));
    counted.note().await.unwrap();
    let hasty = counted.with_timeout(Duration::from_millis(20));
    assert_eq!(hasty.hang().await, Err(CallError::DeadlineExceeded));
    assert_eq!(get(CONNECTIONS_OPEN, "side=client"), 1);
    assert_eq!(get(CONNECTIONS_OPEN, "side=server"), 1);

    for side in ["client", "server"] {
        let of =
            |method: &str, outcome: &str| format!("side={side} method=Counted.{method} outcome={outcome}");
        let begun = |method: &str| get(CALLS_BEGUN, &format!("side={side} method=Counted.{method}"));
        assert_eq!((begun("add"), get(CALLS_ENDED, &of("add", "value"))), (3, 3));
        assert_eq!(get(CALL_SECONDS, &of("add", "value")), 3);
        assert_eq!((begun("fail"), get(CALLS_ENDED, &of("fail", "error"))), (1, 1));
        assert_eq!((begun("panic"), get(CALLS_ENDED, &of("panic", "panicked"))), (1, 1));
        assert_eq!((begun("deny"), get(CALLS_ENDED, &of("deny", "refused"))), (1, 1));
        eventually("the one-way call is counted", || get(CALLS_ENDED, &of("note", "done")) == 1).await;
        eventually("the late call is counted", || {
            get(CALLS_ENDED, &of("hang", "deadline_exceeded")) + get(CALLS_ENDED, &of("hang", "cancelled"))
                == 1
        })
        .await;
    }

    // One too many is refused, on both sides.
    let one_more = CountedClient::connect(&name).await.unwrap();
    assert!(matches!(one_more.add(1, 2).await, Err(CallError::Refused(_))));
    for side in ["client", "server"] {
        eventually("the refusal is counted", || {
            get(CONNECTIONS_REFUSED, &format!("side={side} reason=overloaded")) == 1
        })
        .await;
    }
    drop((counted, hasty, one_more));
    for side in ["client", "server"] {
        eventually("no connection is open", || get(CONNECTIONS_OPEN, &format!("side={side}")) == 0).await;
    }
    server.shutdown().await.unwrap();
}
