//! Clients that call without pause while their server is replaced again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use panpipe_tests::ledger::counted;
use panpipe_tests::process::Process;
use panpipe_tests::{PATIENCE, eventually, raw, times, unique_name};
use rustix::process::Signal;

/// How a server is ended.
#[derive(Debug, Clone, Copy)]
enum End {
    CtrlC,
    Told,
    Killed,
}

/// What came of all calls: by what was called, and how it ended.
type Outcomes = BTreeMap<(String, String), u64>;

struct Ground {
    name: String,
    directory: tempfile::TempDir,
}

impl Ground {
    fn ledger(&self) -> PathBuf {
        self.directory.path().join("ledger")
    }

    fn start(&self, args: &[&str], file: &Path) -> Process {
        Process::start(Command::new(env!("CARGO_BIN_EXE_ledger")).args(args).arg(file))
    }

    fn serve(&self) -> Process {
        let server = self.start(&["serve", &self.name], &self.ledger());
        server.wait_for("ready");
        server
    }

    /// How many calls have been run.
    fn run(&self) -> u64 {
        std::fs::metadata(self.ledger()).map_or(0, |file| file.len() / 8)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // What a server leaves behind that was killed.
        let path = raw::path_of(&self.name);
        let _ = std::fs::remove_file(path.with_file_name(format!("{}.lock", self.name)));
        let _ = std::fs::remove_file(path);
    }
}

/// Ten clients in two processes call while the server is restarted. Holds every
/// call's outcome against the ledger.
async fn roll(restarts: usize, end_of: impl Fn(usize) -> End) -> Outcomes {
    let ground = Ground { name: unique_name("rolling"), directory: tempfile::tempdir().unwrap() };
    let mut server = ground.serve();
    let results = [0, 1].map(|process| ground.directory.path().join(format!("results{process}")));
    let clients = [0, 1].map(|process| {
        let first = (process * 5).to_string();
        ground.start(&["call", &ground.name, &first, "5"], &results[process])
    });
    for client in &clients {
        client.wait_for("calling");
    }
    let mut ending = Vec::new();
    for restart in 0..restarts {
        let before = ground.run();
        let some = times(500, 5000) as u64;
        eventually("calls are run", PATIENCE, async || ground.run() > before + some).await;
        match end_of(restart) {
            End::Killed => server.kill(),
            // It ends while the next one serves already.
            End::CtrlC => {
                server.signal(Signal::INT);
                ending.push(std::thread::spawn(move || server.wait().success()));
            }
            End::Told => ending.push(std::thread::spawn(move || server.finish().success())),
        }
        server = ground.serve();
    }
    for ended in ending {
        assert!(ended.join().unwrap(), "a server that is told to end ends well");
    }
    for client in clients {
        assert!(client.finish().success());
    }
    let mut ledger = counted(ground.ledger());
    let mut outcomes = Outcomes::new();
    for line in results.iter().flat_map(|file| {
        let lines = std::fs::read_to_string(file).unwrap();
        lines.lines().map(str::to_owned).collect::<Vec<_>>()
    }) {
        let (number, rest) = line.split_once(' ').unwrap();
        let (what, outcome) = rest.split_once(' ').unwrap();
        let run = ledger.remove(&number.parse().unwrap()).unwrap_or(0);
        let holds = match (what, outcome) {
            ("note", "ok") => run >= 1,
            ("book", "ok") => run == 1,
            ("book", "sent=true") => run <= 1,
            ("book", "sent=false") => run == 0,
            _ => false,
        };
        assert!(holds, "{line}, and it was run {run} times");
        *outcomes.entry((what.to_owned(), outcome.to_owned())).or_default() += 1;
    }
    assert!(ledger.is_empty(), "nothing was run that nobody has called: {ledger:?}");
    outcomes
}

#[tokio::test]
async fn a_server_is_replaced_under_load_in_order_and_by_force() {
    let restarts = times(8, 20);
    let outcomes = roll(restarts, |restart| match restart % 4 {
        0 => End::CtrlC,
        2 => End::Told,
        _ => End::Killed,
    })
    .await;
    println!("{restarts} restarts, every second by kill -9: {outcomes:?}");
}

#[tokio::test]
async fn a_server_is_replaced_under_load_in_order_and_no_call_fails() {
    let restarts = times(8, 20);
    let outcomes = roll(restarts, |restart| match restart % 2 {
        0 => End::CtrlC,
        _ => End::Told,
    })
    .await;
    println!("{restarts} restarts in order: {outcomes:?}");
    let failed: Vec<_> = outcomes.iter().filter(|((_, outcome), _)| outcome != "ok").collect();
    assert!(failed.is_empty(), "{failed:?}");
}
