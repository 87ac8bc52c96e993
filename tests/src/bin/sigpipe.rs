//! Writes a thousand times to a peer that has gone, with SIGPIPE at its default:
//! `sigpipe pipe|socket|client|child|fifo`.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use panpipe_tests::probe::ProbeClient;
use panpipe_tests::sink::SinkClient;
use panpipe_tests::{sys, unique_name};
use panpipe_transport::{FifoReader, Listener, anonymous, connect};

fn main() {
    sys::die_of_sigpipe();
    let what = std::env::args().nth(1).expect("sigpipe WHAT");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let errors = runtime.expect("there is an event loop").block_on(run(&what));
    println!("{errors} errors, alive");
}

async fn run(what: &str) -> u32 {
    match what {
        "pipe" => {
            let (read, mut write) = anonymous::one_way().expect("a pipe can be made");
            drop(read);
            (0..1000).map(|_| u32::from(write.try_write(b"x").is_err())).sum()
        }
        "socket" => {
            let name = unique_name("sigpipe");
            let listener = Listener::bind(&name).expect("the name is free");
            let (client, server) = tokio::join!(async { connect(&name).await }, listener.accept());
            drop(server);
            let (_read, mut write) = client.expect("the listener listens").into_split();
            (0..1000).map(|_| u32::from(write.try_write(b"x").is_err())).sum()
        }
        "client" => {
            let mut errors = 0;
            for _ in 0..1000 {
                let (one, other) = anonymous::pair().expect("pipes can be made");
                drop(other);
                errors += u32::from(ProbeClient::over(one).add(1, 2).await.is_err());
            }
            errors
        }
        "child" => {
            // A stream of the user's own, of which tokio takes care.
            let mut errors = 0;
            for _ in 0..1000 {
                let (one, other) = UnixStream::pair().expect("sockets can be made");
                drop(OwnedFd::from(other));
                one.set_nonblocking(true).expect("a socket can be non-blocking");
                let one = tokio::net::UnixStream::from_std(one).expect("it is a socket");
                errors += u32::from(ProbeClient::over(one).add(1, 2).await.is_err());
            }
            errors
        }
        "fifo" => {
            let name = unique_name("sigpipe");
            let mut errors = 0;
            for _ in 0..1000 {
                let reader = FifoReader::bind(&name).expect("the name is free");
                let client: SinkClient = panpipe::oneway::connect(&name).await.expect("it is read");
                drop(reader);
                errors += u32::from(client.hold().await.is_err());
            }
            errors
        }
        other => panic!("{other} is nothing to write to"),
    }
}
