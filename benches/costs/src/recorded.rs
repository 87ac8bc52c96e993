//! The costs that are recorded in the repository, and what may differ from them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::count::Costs;

/// How much dearer a call may be than is recorded: compilers differ, and so does how
/// the system has the two processes take turns.
const TOLERANCE: f64 = 0.05;
/// The same where a fraction of a call of a thing is counted.
const TOLERATED: f64 = 0.05;
/// The same for system calls where many wait, whose calls go out as many as there are at a
/// time. Calls that go alone would take three each.
const BATCHES_TOLERATED: f64 = 0.2;
/// The child that gives way while it waits looks in place as often as the two processes
/// happen to take turns; what is recorded is the dearest that was counted. In parts, and
/// in system calls. One more each call is noticed.
const GIVES_WAY: f64 = 0.1;
const GIVES_WAY_TOLERATED: f64 = 0.75;

/// How much dearer something may be, in parts and as such.
fn tolerance(name: &str) -> (f64, f64) {
    match name.split_whitespace().collect::<Vec<_>>()[..] {
        ["child-1", "instructions", "server"] => (GIVES_WAY, TOLERATED),
        ["child-1", "system-calls", "server"] => (TOLERANCE, GIVES_WAY_TOLERATED),
        ["named-64" | "child-64", "system-calls", _] => (TOLERANCE, BATCHES_TOLERATED),
        _ => (TOLERANCE, TOLERATED),
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded.txt")
}

/// Writes the costs down.
pub(crate) fn write(costs: &Costs) {
    let mut text = String::new();
    for (name, cost) in costs {
        writeln!(text, "{name} {cost:.2}").expect("a string takes all");
    }
    std::fs::write(path(), &text).expect("the file can be written");
    print!("{text}");
}

/// Tells each cost beside what is recorded. Fails if a call has become dearer.
pub(crate) fn compare(costs: &Costs) -> ExitCode {
    let text = std::fs::read_to_string(path()).expect("the costs are recorded: `-- record` does it");
    let recorded: Costs = text
        .lines()
        .filter_map(|line| {
            let (name, cost) = line.rsplit_once(' ')?;
            Some((name.to_owned(), cost.parse().ok()?))
        })
        .collect();
    let mut is_dearer = false;
    for (name, &cost) in costs {
        let Some(&was) = recorded.get(name) else {
            println!("{name}: {cost:.2}, not recorded");
            is_dearer = true;
            continue;
        };
        let (parts, least) = tolerance(name);
        let verdict = if cost > was * (1.0 + parts) + least {
            is_dearer = true;
            "DEARER"
        } else if cost < was * (1.0 - parts) - least {
            "cheaper: record it"
        } else {
            "as recorded"
        };
        println!("{name}: {cost:.2}, was {was:.2}: {verdict}");
    }
    if is_dearer {
        println!("a call has become dearer; if it has to be, `-- record` writes that down");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
