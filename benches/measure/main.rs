//! Measures every peer at every work, in turn, and prints the tables.
//!
//! `cargo bench -p panpipe-benches` takes half an hour. Words choose works, peers,
//! ways of doing and the number of rounds, in any order:
//! `cargo bench -p panpipe-benches -- w1 w2 one-cpu panpipe tarpc-vec rounds=9`.
//! `quick` takes a moment for each, to see that all works.
//!
//! What was measured takes the place of older figures in `benches/results`, where the
//! program `draw` makes the charts from; not if it was `quick`, or `keep=no` is given.

use std::path::{Path, PathBuf};
use std::process::Command;

use panpipe_benches::job::{WORKS, Work};
use panpipe_benches::peer::{Kind, PEERS, Peer};
use panpipe_benches::results::{Key, Results, Values};
use panpipe_benches::setting::{SETTINGS, Setting};
use panpipe_benches::tables::tables;

mod machine;
mod run;

use run::Programs;

struct Choice {
    rounds: usize,
    works: Vec<Work>,
    peers: Vec<Peer>,
    settings: Vec<Setting>,
    quick: bool,
    keep: bool,
}

/// Those that an argument names, or all.
fn chosen<T: Copy>(args: &[String], all: &[(T, &str)]) -> Vec<T> {
    let named: Vec<_> = all.iter().filter(|(_, name)| args.iter().any(|arg| arg == name)).collect();
    let chosen = if named.is_empty() { all.iter().collect() } else { named };
    chosen.into_iter().map(|(one, _)| *one).collect()
}

impl Choice {
    fn from_args() -> Choice {
        // Cargo adds `--bench`, which says nothing here.
        let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
        let quick = args.iter().any(|arg| arg == "quick");
        let rounds = args.iter().find_map(|arg| arg.strip_prefix("rounds=")?.parse().ok());
        let known = |arg: &str| {
            let names = WORKS.iter().map(|(_, name)| name).chain(PEERS.iter().map(|(_, name)| name));
            names.chain(SETTINGS.iter().map(|(_, name)| name)).any(|name| *name == arg)
                || arg.starts_with("rounds=")
                || ["quick", "keep=no"].contains(&arg)
        };
        if let Some(unknown) = args.iter().find(|arg| !known(arg)) {
            panic!("there is no {unknown:?} to choose");
        }
        Choice {
            rounds: rounds.unwrap_or(if quick { 1 } else { 5 }),
            works: chosen(&args, &WORKS),
            peers: chosen(&args, &PEERS),
            settings: chosen(&args, &SETTINGS),
            quick,
            keep: !quick && !args.iter().any(|arg| arg == "keep=no"),
        }
    }
}

fn main() {
    // `cargo test` builds and runs benches too, if told to; it measures nothing.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let mut choice = Choice::from_args();
    let own = Programs {
        server: env!("CARGO_BIN_EXE_bench_server").into(),
        client: env!("CARGO_BIN_EXE_bench_client").into(),
    };
    let peers =
        if choice.peers.iter().any(|peer| peer.kind() == Kind::Other) { build_peers(&own) } else { None };
    if peers.is_none() {
        choice.peers.retain(|peer| peer.kind() != Kind::Other);
    }
    let programs = |peer: Peer| match &peers {
        Some(peers) if peer.kind() == Kind::Other => peers,
        _ => &own,
    };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut results = Results::read().expect("the results can be read");
    let date = machine::date();
    results.runs.insert(date.clone(), machine::describe());
    let mut failures = Vec::new();
    for &work in &choice.works {
        for &setting in choice.settings.iter().filter(|setting| work.is_taken(**setting)) {
            let peers = choice.peers.iter().filter(|peer| peer.can(work) && peer.is_taken(setting));
            let mut measured: Vec<_> = peers.map(|peer| (*peer, Vec::new())).collect();
            for round in 0..choice.rounds {
                eprintln!("{} {}, round {}", work.name(), setting.name(), round + 1);
                for (peer, figures) in &mut measured {
                    let place = folder.path().join(peer.name());
                    match run::run(*peer, work, setting, programs(*peer), &place, choice.quick) {
                        Ok(run) => figures.push(run),
                        Err(error) => {
                            let failure =
                                format!("{} at {}, {}: {error}", peer.name(), work.name(), setting.name());
                            eprintln!("!! {failure}");
                            failures.push(failure);
                        }
                    }
                }
            }
            for (peer, runs) in measured.into_iter().filter(|(_, runs)| !runs.is_empty()) {
                for figure in 0..work.figures().len() {
                    let rounds = runs.iter().map(|run: &Vec<f64>| run[figure]).collect();
                    results.put(Values {
                        key: Key { work, peer, setting, figure },
                        run: date.clone(),
                        rounds,
                    });
                }
            }
            if choice.keep {
                results.write().expect("the results can be written");
            }
        }
    }
    println!("\n{}", tables(&results, |work| choice.works.contains(&work)));
    failures.iter().for_each(|failure| println!("!! {failure}"));
    assert!(failures.is_empty(), "not everything could be measured");
}

/// Builds the peers' programs, if that can be done here.
fn build_peers(own: &Programs) -> Option<Programs> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    // Beside what cargo builds for this workspace, wherever that is.
    let target: PathBuf = own.server.parent()?.parent()?.join("peers");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--target-dir"])
        .arg(&target)
        .current_dir(folder)
        .status();
    if built.is_ok_and(|status| status.success()) {
        let programs = target.join("release");
        return Some(Programs { server: programs.join("peer_server"), client: programs.join("peer_client") });
    }
    eprintln!("\n!! THE PEERS ARE LEFT OUT: their package, benches/peers, cannot be built here.\n");
    None
}
