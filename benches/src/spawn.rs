//! The start of a child and its first answer: bare, and as a plugin.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use panpipe::{Output, Plugin};

use crate::job::SMALL;
use crate::panpipe::EchoClient;
use crate::peer::Peer;
use crate::stats::median;

const CHILDREN: usize = 100;

/// The time from the start to the first echo, in microseconds.
pub async fn run(peer: Peer, command: impl Fn() -> Command) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..CHILDREN {
        let start = Instant::now();
        let took = match peer {
            Peer::PanpipeChild => plugin(command(), start).await,
            _ => bare(command(), start),
        };
        times.push(took.as_nanos() as f64 / 1000.0);
    }
    vec![median(&mut times)]
}

async fn plugin(command: Command, start: Instant) -> Duration {
    let plugin = Plugin::spawn(command).stderr(Output::Inherit).start::<EchoClient>();
    let plugin = plugin.await.expect("the server runs");
    let echoed = EchoClient::echo(plugin.client(), vec![7; SMALL]).await;
    assert_eq!(echoed.map(|echoed| echoed.len()), Ok(SMALL));
    let took = start.elapsed();
    plugin.shutdown(Duration::from_secs(5)).await.expect("it ends");
    took
}

fn bare(mut command: Command, start: Instant) -> Duration {
    use std::io::{Read, Write};
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the server runs");
    let (mut buffer, mut stdin, mut stdout) =
        ([7; SMALL], child.stdin.take().expect("it is piped"), child.stdout.take().expect("it is piped"));
    stdin.write_all(&buffer).expect("the child reads");
    stdout.read_exact(&mut buffer).expect("the child writes");
    let took = start.elapsed();
    drop((stdin, stdout));
    child.wait().expect("the child ends");
    took
}
