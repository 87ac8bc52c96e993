//! Runs the calls under what counts, twice as many the second time: the difference is
//! what the calls cost, and not the start and the end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::work::{CASES, CHILD, Case, WITH};

/// What one call costs, by case, what is counted and side.
pub(crate) type Costs = BTreeMap<String, f64>;

/// How many calls a run makes at least.
const CALLS: usize = 6400;

/// Counts everything that can be counted here.
pub(crate) fn all() -> Costs {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut costs = Costs::new();
    for case in CASES {
        for tool in [Tool::Nothing, Tool::Valgrind, Tool::Strace] {
            if tool.is_installed() {
                count(case, tool, folder.path(), &mut costs);
            } else {
                eprintln!(
                    "!! SKIPPED: {} of {}: {} is not installed",
                    tool.counts(),
                    case.name,
                    tool.program()
                );
            }
        }
    }
    costs
}

fn count(case: Case, tool: Tool, folder: &Path, costs: &mut Costs) {
    let [once, twice] = [CALLS, 2 * CALLS].map(|calls| run(case, tool, folder, calls));
    // Each run makes its calls two times over: first to be warm.
    let made = if tool == Tool::Nothing { CALLS } else { 2 * CALLS };
    for (side, once, twice) in [("client", once.0, twice.0), ("server", once.1, twice.1)] {
        costs.insert(format!("{} {} {side}", case.name, tool.counts()), (twice - once) / made as f64);
    }
}

/// The counts of both sides.
fn run(case: Case, tool: Tool, folder: &Path, calls: usize) -> (f64, f64) {
    let this = std::env::current_exe().expect("this program has a path");
    let (name, of_client, of_server) = (folder.join("meter"), folder.join("client"), folder.join("server"));
    let place = if case.is_child { CHILD } else { name.to_str().expect("a path is text") };
    let under = |counts: &Path| {
        let words = tool.words(counts);
        let mut words = words.iter().map(AsRef::as_ref).chain([this.as_os_str()]);
        let mut command = Command::new(words.next().expect("the program is one"));
        command.args(words);
        command
    };
    let server = (!case.is_child).then(|| {
        let server = under(&of_server).args(["server", place]).stdout(Stdio::piped()).spawn();
        let mut server = Ending(server.expect("the server starts"));
        let mut line = String::new();
        let stdout = server.0.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the server prints");
        assert_eq!(line, "ready\n");
        server
    });
    let mut client = under(&of_client);
    client.args(["client", case.name, place, &calls.to_string()]).env(WITH, tool.words(&of_server).join(" "));
    let output = client.stderr(Stdio::inherit()).output().expect("the client runs");
    assert!(output.status.success(), "the client has failed");
    drop(server);
    if tool == Tool::Nothing {
        let words = String::from_utf8(output.stdout).expect("figures are text");
        let counts: Vec<f64> = words.split_whitespace().map(|n| n.parse().expect("a figure")).collect();
        return (counts[0], counts[1]);
    }
    (tool.read(&of_client), tool.read(&of_server))
}

/// A server, which ends when its client has told it to: only then are its counts whole.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// What counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Nothing,
    Valgrind,
    Strace,
}

impl Tool {
    fn counts(self) -> &'static str {
        match self {
            Tool::Nothing => "allocations",
            Tool::Valgrind => "instructions",
            Tool::Strace => "system-calls",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Tool::Nothing => "nothing",
            Tool::Valgrind => "valgrind",
            Tool::Strace => "strace",
        }
    }

    fn is_installed(self) -> bool {
        let asked = || Command::new(self.program()).arg("--version").output();
        self == Tool::Nothing || asked().is_ok_and(|output| output.status.success())
    }

    /// What a program is started with to have it counted.
    fn words(self, counts: &Path) -> Vec<String> {
        let file = counts.display();
        let words = match self {
            Tool::Nothing => return Vec::new(),
            Tool::Valgrind => {
                format!("valgrind --quiet --tool=callgrind --callgrind-out-file={file}")
            }
            // The calls are made and answered by the first thread.
            Tool::Strace => format!("strace --summary-only --output={file}"),
        };
        words.split_whitespace().map(str::to_owned).collect()
    }

    /// The sum that the tool has left.
    fn read(self, counts: &Path) -> f64 {
        let text = std::fs::read_to_string(counts).expect("the tool has counted");
        let sum = match self {
            Tool::Nothing => None,
            Tool::Valgrind => text.lines().find_map(|line| line.strip_prefix("summary: ")),
            // The last line is the sum: part, seconds, microseconds a call, calls.
            Tool::Strace => text.lines().last().and_then(|line| line.split_whitespace().nth(3)),
        };
        sum.and_then(|sum| sum.trim().parse().ok()).expect("the tool tells a sum")
    }
}
