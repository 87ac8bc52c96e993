//! Makes one-way calls or sends items, and ends: `end_of_main NAME HOW FIRST COUNT`. Prints what
//! panpipe logs as a warning.

use std::fmt;

use panpipe::Sender;
use panpipe_tests::studio::StudioClient;
use tokio::runtime::{Builder, Runtime};
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

/// Prints warnings.
struct Warnings;

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Message;
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    println!("{value:?}");
                }
            }
        }
        if *event.metadata().level() == tracing::Level::WARN {
            event.record(&mut Message);
        }
    }
}

fn runtime(threads: &str) -> Runtime {
    let mut builder = match threads {
        "current" => Builder::new_current_thread(),
        "threads" => Builder::new_multi_thread(),
        other => panic!("{other} is no runtime"),
    };
    builder.worker_threads(4).enable_all().build().expect("there is an event loop")
}

async fn connect(name: &str) -> StudioClient {
    StudioClient::connect(name).await.expect("the studio listens")
}

fn main() {
    let subscriber = tracing_subscriber::registry().with(Warnings);
    tracing::subscriber::set_global_default(subscriber).expect("it is the first");
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [name, how, first, count] = args.as_slice() else { panic!("end_of_main NAME HOW FIRST COUNT") };
    let first: u64 = first.parse().expect("FIRST is a number");
    let numbers = first..first + count.parse::<u64>().expect("COUNT is a number");
    match how.split('-').collect::<Vec<_>>().as_slice() {
        ["blocking", "calls"] => {
            let studio = StudioClient::connect_blocking(name).expect("the studio listens");
            for number in numbers {
                studio.note_bytes(number, Vec::new()).expect("the call is accepted");
            }
        }
        [threads, "calls"] => runtime(threads).block_on(async {
            let studio = connect(name).await;
            for number in numbers {
                studio.note_bytes(number, Vec::new()).await.expect("the call is accepted");
            }
        }),
        [threads, "items"] => runtime(threads).block_on(async {
            let studio = connect(name).await;
            let sender: Sender<u64> = studio.sender().await.expect("the studio answers");
            for number in numbers {
                sender.send(number).await.expect("the item is accepted");
            }
        }),
        // The items wait in a channel, whose other end was sent.
        [threads, "queued"] => runtime(threads).block_on(async {
            let studio = connect(name).await;
            let (sender, items) = panpipe::channel(numbers.clone().count());
            studio.note_all(items).await.expect("the call is accepted");
            for number in numbers {
                sender.send(number).await.expect("the item is accepted");
            }
        }),
        // Ends at once: what was flushed has arrived.
        [threads, "flushed"] => runtime(threads).block_on(async {
            let studio = connect(name).await;
            let sender: Sender<u64> = studio.sender().await.expect("the studio answers");
            for number in numbers {
                sender.send(number).await.expect("the item is accepted");
            }
            sender.flush().await.expect("the items arrive");
            std::process::exit(0);
        }),
        // A single call on an idle connection is written before its future is ready.
        [threads, "idle"] => runtime(threads).block_on(async {
            let studio = connect(name).await;
            studio.note_bytes(first, Vec::new()).await.expect("the call is accepted");
            std::process::exit(0);
        }),
        // To a server that has stopped: until no more is accepted.
        [threads, "stopped"] => runtime(threads).block_on(async {
            let studio = connect(name).await;
            assert_eq!(studio.echo(1).await, Ok(1));
            println!("ready");
            std::io::stdin().read_line(&mut String::new()).expect("the test writes");
            let mut accepted = 0u64;
            let full = std::time::Duration::from_millis(100);
            while tokio::time::timeout(full, studio.note_bytes(first, vec![7; 1000])).await.is_ok() {
                accepted += 1;
            }
            println!("{accepted}");
        }),
        other => panic!("{other:?} is nothing to do"),
    }
}
