//! Serves the probe, a studio and a tracer behind hooks, in the order in which they are
//! named: `hooked NAME [rules] [tally] [decide] [limit=N] [shed] [timeout_ms=N]
//! [spans]`.
//!
//! Prints `ready`; with `spans` each span of panpipe's as it ends, with `tally` what the
//! layer has written down when the standard input has ended. Then it ends too.

use panpipe::Server;
use panpipe_tests::layers::{Decide, Tally, timeout};
use panpipe_tests::probe::{Probe, Prober};
use panpipe_tests::spans;
use panpipe_tests::studio::{Studio, StudioImpl};
use panpipe_tests::tracer::{Tracer, Tracing};

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().expect("the first argument is the name");
    let tally = Tally::default();
    let mut server = Server::bind(name)
        .service(Prober::default().serve())
        .service(StudioImpl::default().serve())
        .service(Tracing::default().serve());
    for arg in args {
        let (key, value) = arg.split_once('=').unwrap_or((&arg, "0"));
        let value: u64 = value.parse().expect("a setting is a number");
        server = match key {
            "rules" => server.authorize(rule),
            "tally" => server.layer(tally.clone()),
            "decide" => server.layer(Decide),
            "limit" => server.layer(tower::limit::ConcurrencyLimitLayer::new(value as usize)),
            "shed" => server.layer(tower::load_shed::LoadShedLayer::new()),
            "timeout_ms" => server.layer(timeout(value)),
            "spans" => {
                let told = spans::subscriber(|span| println!("{span}"));
                tracing::subscriber::set_global_default(told).expect("there is no other");
                server
            }
            other => panic!("{other} is no setting"),
        };
    }
    let server = server.start().expect("the name is free");
    println!("ready");
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    server.shutdown().await.expect("the server's task does not panic");
    tally.lines().iter().for_each(|line| println!("{line}"));
}

/// Says of each method of the probe who may call it.
fn rule(call: &panpipe::CallInfo) -> Result<(), String> {
    match (call.service(), call.method()) {
        ("Probe", "odd" | "echo" | "hang" | "note") => {
            Err(format!("{} is nothing for {}, until {:?}", call.name(), call.peer(), call.deadline()))
        }
        ("Probe", "depth") => panic!("as it was asked to"),
        ("Tracer", "seen") => Err("nobody is to see".to_owned()),
        _ => Ok(()),
    }
}
