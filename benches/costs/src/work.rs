//! The calls that are counted, and the two processes that make and answer them.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use panpipe::{Latency, NoService, Server};
use tokio::sync::Notify;

use crate::sys::allocations;

/// Instead of a name: the server is the client's child.
pub(crate) const CHILD: &str = "-";
/// What the client starts its child with, if anything, in words.
pub(crate) const WITH: &str = "COSTS_CHILD_WITH";

/// How often who waits awake looks, or gives way, is a matter of time. A child that serves
/// its parent cannot be told, and gives way.
const ASLEEP: Latency = Latency::Asleep;

/// Enough time to end, under whatever counts.
const ENOUGH: Duration = Duration::from_secs(60);

/// Calls of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Whether the server is a child, over anonymous pipes, rather than behind a name.
    pub(crate) is_child: bool,
    /// How many make calls at the same time.
    pub(crate) callers: usize,
    /// Whether there is no runtime on either side.
    pub(crate) is_blocking: bool,
}

const ASYNC: Case = Case { name: "", is_child: false, callers: 1, is_blocking: false };

pub(crate) const CASES: [Case; 5] = [
    Case { name: "named-1", ..ASYNC },
    Case { name: "child-1", is_child: true, ..ASYNC },
    Case { name: "named-64", callers: 64, ..ASYNC },
    Case { name: "child-64", is_child: true, callers: 64, ..ASYNC },
    Case { name: "child-1-blocking", is_child: true, is_blocking: true, ..ASYNC },
];

pub(crate) fn case(name: &str) -> Option<Case> {
    CASES.into_iter().find(|case| case.name == name)
}

#[panpipe::service]
trait Meter {
    /// Gives its argument back.
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8>;
    /// How often the server has asked for memory.
    async fn allocations(&self) -> u64;
    /// No more calls come: the server may end.
    async fn end(&self);
}

struct Here {
    end: Arc<Notify>,
}

impl Meter for Here {
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    async fn allocations(&self) -> u64 {
        allocations::count()
    }

    async fn end(&self) {
        self.end.notify_one();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there is an event loop")
}

/// Serves the parent on the thread that reads its calls.
pub(crate) fn serve_blocking() {
    let _ = panpipe::serve_parent_blocking(|_: NoService| Here { end: Arc::default() }.serve());
}

/// Serves the parent, or whoever comes until one says that it is the end.
pub(crate) fn serve(place: &str) {
    runtime().block_on(async {
        let end = Arc::new(Notify::new());
        let service = Here { end: Arc::clone(&end) }.serve();
        if place == CHILD {
            let _ = panpipe::serve_parent(|_: NoService| service).await;
            return;
        }
        let server = Server::bind(place).service(service).latency(ASLEEP).start().expect("the name is free");
        println!("ready");
        end.notified().await;
        server.shutdown().await.expect("the server does not panic");
    });
}

/// The child, under whatever counts.
fn child(role: &str) -> Command {
    let this = std::env::current_exe().expect("this program has a path");
    let with = std::env::var(WITH).unwrap_or_default();
    let mut words = with.split_whitespace().chain(this.to_str()).chain([role, CHILD]);
    let mut command = Command::new(words.next().expect("the path is one"));
    command.args(words);
    command
}

/// The same as [`client`] without a runtime.
fn blocking_client(calls: usize) -> String {
    let child = panpipe::spawn(child("server-blocking")).start_blocking::<MeterClient>();
    let child = child.expect("the child starts");
    let client = child.client();
    let count = || (allocations::count(), client.allocations().expect("the server answers"));
    let echo_all = || {
        for _ in 0..calls {
            let echoed = client.echo(vec![7; 64]).expect("the server answers");
            assert_eq!(echoed.len(), 64);
        }
    };
    echo_all();
    let before = count();
    echo_all();
    let after = count();
    child.shutdown(ENOUGH).expect("the child ends");
    format!("{} {}", after.0 - before.0, after.1 - before.1)
}

/// Makes the calls. Gives the allocations of both sides meanwhile, in words.
pub(crate) fn client(case: Case, place: &str, calls: usize) -> String {
    if case.is_blocking {
        return blocking_client(calls);
    }
    runtime().block_on(async {
        if case.is_child {
            let child = panpipe::spawn(child("server"))
                .latency(ASLEEP)
                .start::<MeterClient>()
                .expect("the child starts");
            let counts = run(case, child.client(), calls).await;
            child.shutdown(ENOUGH).await.expect("the child ends");
            counts
        } else {
            let client = MeterClient::connect(place).latency(ASLEEP).await.expect("the server listens");
            let counts = run(case, &client, calls).await;
            client.end().await.expect("the server answers");
            counts
        }
    })
}

async fn run(case: Case, client: &MeterClient, calls: usize) -> String {
    let count = async || {
        let of_server = client.allocations().await.expect("the server answers");
        (allocations::count(), of_server)
    };
    // Tables and buffers have grown to their sizes then.
    echo_all(case, client, calls).await;
    let before = count().await;
    echo_all(case, client, calls).await;
    let after = count().await;
    format!("{} {}", after.0 - before.0, after.1 - before.1)
}

async fn echo_all(case: Case, client: &MeterClient, calls: usize) {
    let callers = (0..case.callers).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..calls / case.callers {
                let echoed = client.echo(vec![7; 64]).await.expect("the server answers");
                assert_eq!(echoed.len(), 64);
            }
        })
    });
    for caller in join_all(callers).await {
        caller.expect("no caller panics");
    }
}
