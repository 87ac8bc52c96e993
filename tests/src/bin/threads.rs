//! A process without a runtime, that serves or calls: `threads child WHAT`,
//! `threads serve NAME WHAT`, `threads hold NAME`.

use std::process::ExitCode;
use std::sync::Arc;

use panpipe::{NoService, Server, Streaming, serve_parent_blocking};
use panpipe_tests::bare::{Bare, BareImpl};
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
use panpipe_tests::studio::{Shared, Studio, StudioClient, StudioImpl};
use panpipe_tests::worker::{Worker, WorkerImpl};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let ended = match args.as_slice() {
        ["child", "bare"] => serve_parent_blocking(|host: ProbeClient| BareImpl { host }.serve()).err(),
        // Nothing that it may call, so that its connection has no thread of its own.
        ["child", "counted"] => {
            let host = ProbeClient::local(Prober::default());
            serve_parent_blocking(|_: NoService| BareImpl { host }.serve()).err()
        }
        ["child", "probe"] => serve_parent_blocking(|_: NoService| Prober::default().serve()).err(),
        ["child", "worker"] => serve_parent_blocking(|host: ProbeClient| WorkerImpl { host }.serve()).err(),
        ["serve", name, what] => {
            serve(name, what);
            None
        }
        ["hold", name] => {
            hold(name);
            None
        }
        other => panic!("{other:?} is nothing to do"),
    };
    match ended {
        None => ExitCode::SUCCESS,
        Some(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes a call whose stream is still being sent when it has returned, then none until its
/// standard input ends.
fn hold(name: &str) {
    let studio = StudioClient::connect_blocking(name).expect("somebody serves");
    let endless = Streaming::new(futures::stream::iter(0..));
    println!("{:?}", studio.first(endless, 3).expect("it answers"));
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    assert_eq!(studio.ticks().expect("it answers"), 0);
}

/// Serves until it is told to end, by a signal.
fn serve(name: &str, what: &str) {
    let host = ProbeClient::local(Prober::default());
    // The name is taken when this is printed, or it cannot be had.
    let served = match what {
        "signals" => panpipe::serve_blocking(name, BareImpl { host }.serve()),
        "one" => {
            let limits = panpipe::Limits { max_clients: 1, ..panpipe::Limits::default() };
            run(Server::bind(name).limits(limits).service(BareImpl { host }.serve()))
        }
        _ => {
            let shared = Arc::new(Shared::default());
            let studio = move |client: &panpipe::Connection| StudioImpl::for_client(&shared, client).serve();
            run(Server::bind(name)
                .service(BareImpl { host }.serve())
                .service(Prober::default().serve())
                .service_per_client(studio))
        }
    };
    served.expect("it serves");
}

/// Serves until its standard input ends.
fn run(server: Server) -> Result<(), panpipe::ServeError> {
    let server = server.start_blocking()?;
    println!("ready");
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    server.shutdown()
}
