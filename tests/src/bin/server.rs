//! Serves the probe: `server NAME [max_message=N] [max_calls=N] [max_clients=N]
//! [max_calls_in_all=N] [allow_gid=N] [allow_anyone] [handshake_ms=N] [grace_ms=N] [ctrl_c]`.
//!
//! Prints `ready`; ends when its standard input does, or on ctrl-c if told so.

use std::process::ExitCode;
use std::time::Duration;

use panpipe::{Access, Limits, Server};
use panpipe_tests::probe::{Probe, Prober};

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let name = args.next().expect("the first argument is the name");
    let mut limits = Limits::default();
    let mut access = Access::default();
    let mut grace = Duration::from_secs(10);
    let mut ctrl_c = false;
    for arg in args {
        let (key, value) = arg.split_once('=').unwrap_or((&arg, "0"));
        let value: u64 = value.parse().expect("a setting is a number");
        match key {
            "max_message" => limits.max_message = value as usize,
            "max_calls" => limits.max_calls = value as u32,
            "max_calls_in_all" => limits.max_calls_in_all = value as usize,
            "max_clients" => limits.max_clients = value as usize,
            "allow_gid" => access = Access::gids([value as u32]),
            "allow_anyone" => access = Access::anyone(),
            "handshake_ms" => limits.handshake_timeout = Duration::from_millis(value),
            "grace_ms" => grace = Duration::from_millis(value),
            "ctrl_c" => ctrl_c = true,
            other => panic!("{other} is no setting"),
        }
    }
    let interrupted = ctrl_c.then(panpipe_tests::ctrl_c);
    let told = async move {
        match interrupted {
            Some(interrupted) => interrupted.await,
            None => {
                let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
            }
        }
    };
    match Server::bind(name)
        .service(Prober::default().serve())
        .limits(limits)
        .allow(access)
        .grace(grace)
        .until(told)
        .start()
    {
        Ok(server) => {
            println!("ready");
            server.wait().await.expect("the server's task does not panic");
            println!("ended");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
