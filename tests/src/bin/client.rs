//! Calls the probe from a process of its own: `client NAME WHAT`, or
//! `client UID:NAME WHAT` for the server of another user.

use std::process::ExitCode;
use std::time::Duration;

use panpipe::{Access, Backoff, PipeName};
use panpipe_tests::probe::ProbeClient;
use panpipe_tests::sys;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [name, what] = args.as_slice() else { panic!("client NAME WHAT") };
    if what == "wait-in-vain" {
        // Alone in its process, so that all its processor time is the waiting's.
        let before = sys::cpu_micros();
        let connected = ProbeClient::connect(name).wait(Duration::from_secs(1)).await;
        assert!(connected.is_err(), "nobody serves {name}");
        println!("{}", sys::cpu_micros() - before);
        return ExitCode::SUCCESS;
    }
    let name = match name.split_once(':') {
        Some((uid, name)) => PipeName::of_user(uid.parse().expect("a uid is a number"), name),
        None => PipeName::new(name),
    }
    .expect("the name is good");
    let mut connect = ProbeClient::connect(&name).wait(Duration::from_secs(10));
    if what == "about-anyones" {
        connect = connect.trust(Access::anyone());
    }
    let probe = match connect.await {
        Ok(probe) => probe,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match what.as_str() {
        "reconnect-in-vain" => {
            let backoff = Backoff::exponential().for_at_most(Duration::from_secs(1));
            let probe = ProbeClient::connect(&name).reconnect(backoff).await.expect("the server listens");
            let hanging = tokio::spawn(probe.hang());
            while probe.counts().await.expect("the server serves").running == 0 {}
            println!("calling");
            println!("{:?}", hanging.await.expect("it does not panic"));
            let before = sys::cpu_micros();
            println!("{:?}", probe.add(1, 2).await);
            println!("{}", sys::cpu_micros() - before);
        }
        "hang" => println!("{:?}", probe.hang().await),
        "about" | "about-anyones" => println!("{:?}", probe.about_me().await),
        "idle" => {
            for x in 0..100 {
                assert_eq!(probe.add(x, 1).await, Ok(x + 1));
            }
            let before = sys::cpu_micros();
            tokio::time::sleep(Duration::from_secs(1)).await;
            println!("{}", sys::cpu_micros() - before);
        }
        // Enough that the connection gets a bypass.
        "many" => {
            for x in 0..200 {
                assert_eq!(probe.add(x, 1).await, Ok(x + 1));
            }
            println!("done");
        }
        "ten" => {
            for x in 0..10 {
                println!("{:?}", probe.add(x, 1000).await);
            }
        }
        other => panic!("{other} is nothing to do"),
    }
    ExitCode::SUCCESS
}
