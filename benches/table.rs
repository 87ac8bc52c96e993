//! Runs every peer at every work, in turn, and prints one table.
//!
//! `cargo bench -p panpipe-benches` takes about eight minutes. Arguments choose:
//! `cargo bench -p panpipe-benches -- w1 w2 rounds=9 panpipe tarpc-vec`. With
//! `BENCH_THREADS=many` in the environment the runtimes have many threads.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use panpipe_benches::job::{PEERS, Peer, WORKS, Work};
use panpipe_benches::stats::median;

/// The processor of pinned runs.
const CPU: &str = "0";

struct Choice {
    rounds: usize,
    works: Vec<(Work, &'static str)>,
    peers: Vec<(Peer, &'static str)>,
}

impl Choice {
    fn from_args() -> Choice {
        // Cargo adds `--bench`, which says nothing here.
        let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
        let rounds = args.iter().find_map(|arg| arg.strip_prefix("rounds=")?.parse().ok()).unwrap_or(5);
        let chosen = |name: &str| args.iter().any(|arg| arg == name);
        let mut works = WORKS.to_vec();
        if WORKS.iter().any(|(_, name)| chosen(name)) {
            works.retain(|(_, name)| chosen(name));
        }
        let mut peers = PEERS.to_vec();
        if PEERS.iter().any(|(_, name)| chosen(name)) {
            peers.retain(|(_, name)| chosen(name));
        }
        Choice { rounds, works, peers }
    }
}

/// A process that ends with its run.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    // `cargo test` builds and runs benches too, if told to; it measures nothing.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let choice = Choice::from_args();
    let folder = tempfile::tempdir().expect("a folder can be made");
    println!("\nEach figure is the median of {} rounds, in which the peers took turns.", choice.rounds);
    println!("In brackets: the ratio to stock tarpc over its own transport with the same payload");
    println!(
        "type (`panpipe` columns: with `Vec<u8>`; in W7 and W8 to remoc, in W9 to a bare child); below 1 is less.\n"
    );
    print!("| work |");
    choice.peers.iter().for_each(|(_, name)| print!(" {name} |"));
    print!("\n|---|");
    choice.peers.iter().for_each(|_| print!("---|"));
    println!();
    for &(work, work_name) in &choice.works {
        for pinned in [true, false] {
            if work == Work::Idle && pinned {
                continue;
            }
            let mut figures = vec![Vec::new(); choice.peers.len()];
            for _ in 0..choice.rounds {
                for (column, &(peer, name)) in choice.peers.iter().enumerate() {
                    if peer.can(work) {
                        let place = folder.path().join(name).to_str().expect("a path is text").to_owned();
                        figures[column].push(run(peer, name, work, work_name, &place, pinned));
                    }
                }
            }
            print_rows(work, pinned, &choice.peers, &figures);
        }
    }
}

fn run(peer: Peer, name: &str, work: Work, work_name: &str, place: &str, pinned: bool) -> Vec<f64> {
    let (server_program, client_program) =
        (env!("CARGO_BIN_EXE_bench_server"), env!("CARGO_BIN_EXE_bench_client"));
    let command = |program: &str| {
        let mut command = Command::new(program);
        command.args([name, work_name, place]).stdout(Stdio::piped());
        if pinned {
            command.env("BENCH_CPU", CPU);
        }
        command
    };
    let _ = std::fs::remove_file(place);
    let server = (!peer.is_child()).then(|| {
        let mut server = command(server_program).spawn().expect("the server runs");
        let mut line = String::new();
        let stdout = server.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the server prints");
        assert_eq!(line, "ready\n");
        Running(server)
    });
    let before = server.as_ref().map_or(0.0, |server| rss_kib(server.0.id()));
    let mut client = command(client_program).arg(server_program).stdin(Stdio::piped()).spawn();
    let client = client.as_mut().expect("the client runs");
    let mut line = String::new();
    let mut stdout = BufReader::new(client.stdout.take().expect("it is piped"));
    stdout.read_line(&mut line).expect("the client prints");
    let figures = if work == Work::Idle {
        assert_eq!(line, "idle\n");
        let after = server.as_ref().map_or(0.0, |server| rss_kib(server.0.id()));
        vec![(after - before) / 1000.0]
    } else {
        line.split_whitespace().map(|figure| figure.parse().expect("figures are numbers")).collect()
    };
    drop(client.stdin.take());
    assert!(client.wait().expect("the client ends").success());
    figures
}

/// A process's resident memory.
fn rss_kib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
}

fn print_rows(work: Work, pinned: bool, peers: &[(Peer, &str)], figures: &[Vec<Vec<f64>>]) {
    let names: &[&str] = match work {
        Work::RoundTrip => &["W1 p50, µs", "W1 p99, µs"],
        Work::Callers => &["W2, thousand calls/s"],
        Work::Bulk => &["W3, MiB/s"],
        Work::Connections => &["W4, thousand calls/s"],
        Work::Connect => &["W5, µs"],
        Work::Idle => &["W6, KiB a connection"],
        Work::Items => &["W7 64 B, thousand items/s", "W7 64 KiB, MiB/s"],
        Work::Spawn => &["W9, µs"],
        Work::Beside => &["W8 idle p99, µs", "W8 busy p50, µs", "W8 busy p99, µs"],
    };
    let cpus = if pinned { "one CPU" } else { "all CPUs" };
    for (index, name) in names.iter().enumerate() {
        let of = |wanted: Peer| {
            let column = peers.iter().position(|(peer, _)| *peer == wanted)?;
            let mut values: Vec<f64> = figures[column].iter().map(|run| run[index]).collect();
            (!values.is_empty()).then(|| median(&mut values))
        };
        print!("| {name}, {cpus} |");
        for &(peer, _) in peers {
            let base = match peer {
                // tarpc has no streams, and its calls wait for large messages.
                Peer::Panpipe | Peer::PanpipeChild if matches!(work, Work::Items | Work::Beside) => {
                    of(Peer::Remoc)
                }
                // The bare child is what there is to compare with.
                Peer::PanpipeChild if work == Work::Spawn => of(Peer::RawPipes),
                Peer::PanpipeBlocking => of(Peer::RawSocket),
                Peer::PanpipeChildBlocking => of(Peer::RawPipes),
                Peer::Panpipe | Peer::PanpipeChild | Peer::TarpcVecOverPipe => of(Peer::TarpcVec),
                Peer::TarpcBytesOverPipe => of(Peer::TarpcBytes),
                _ => None,
            };
            match (of(peer), base) {
                (Some(value), Some(base)) => print!(" {value:.1} ({:.2}) |", value / base),
                (Some(value), None) => print!(" {value:.1} |"),
                (None, _) => print!(" – |"),
            }
        }
        println!();
    }
}
