//! Makes `benches/results/README.md` and its charts of what was measured.
//!
//! `cargo run --release -p panpipe-benches --bin draw`, after
//! `cargo bench -p panpipe-benches`.

use std::fmt::Write;
use std::fs;

use panpipe_benches::job::Work;
use panpipe_benches::peer::{PEERS, Peer};
use panpipe_benches::results::{Key, Results, folder};
use panpipe_benches::setting::Setting;
use panpipe_benches::stats::{largest, median, smallest};
use panpipe_benches::tables::{describe, describe_setting, less_is_better, tables};

mod bars;
mod canvas;
mod lines;

use bars::{Bar, Panel};
use lines::{Line, Plot};

/// The works with a chart of bars, and the figures of them that are shown.
const BARS: [(Work, usize); 9] = [
    (Work::RoundTrip, 0),
    (Work::Callers, 0),
    (Work::Bulk, 0),
    (Work::Connections(100), 0),
    (Work::Connect, 0),
    (Work::Idle, 0),
    (Work::Items, 0),
    (Work::Items, 1),
    (Work::Beside, 2),
];

fn main() {
    let results = Results::read().expect("the results can be read");
    let mut text = String::from(concat!(
        "# What was measured\n\n",
        "Made by `cargo run --release -p panpipe-benches --bin draw` of `figures.tsv`, which holds every\n",
        "round's figures. To measure on your machine, and then draw again:\n\n",
        "```sh\ncargo bench -p panpipe-benches\n",
        "cargo run --release -p panpipe-benches --bin draw\n```\n\n",
        "Two processes; each figure is the median of its rounds, in which all took turns, with the\n",
        "smallest and the largest beside it. *One CPU*: both processes pinned to one, which is what the\n",
        "software costs; *all CPUs*: what a user sees, with what it costs to wake a sleeping processor.\n",
        "Runtimes have one thread but where *many threads* stands. *Of the floor* is the ratio to the bare\n",
        "kernel, sleeping, over the same kind of pipe or socket; the last column the ratio to the peer that\n",
        "it names. Grey bars are the bare system, which has no calls; one that ends in a dash goes on.\n\n",
    ));
    for (date, machine) in &results.runs {
        let _ = writeln!(text, "- {date}: {machine}");
    }
    text.push('\n');
    for (work, figure) in BARS {
        let name = match work {
            // One that has two charts.
            Work::Items => format!("{}-{figure}.svg", work.name()),
            _ => format!("{}.svg", work.name()),
        };
        if draw_bars(&results, work, figure, &name) {
            let _ = writeln!(text, "![{}: {}]({name})\n", work.name(), describe(work));
        }
    }
    for (name, title, plots) in [
        ("connections.svg", "Many connections", CONNECTIONS),
        ("in-flight.svg", "Many calls at once", IN_FLIGHT),
    ] {
        let plots: Vec<_> = plots.iter().map(|plot| lines_of(&results, plot)).collect();
        if plots.iter().any(|plot| !plot.lines.is_empty()) {
            write(name, &lines::draw(title, &plots));
            let _ = writeln!(text, "![{title}]({name})\n");
        }
    }
    let sizes = fs::read_to_string(folder().join("sizes.md")).unwrap_or_default();
    if !sizes.is_empty() {
        text.push_str("What it costs to build is in [sizes.md](sizes.md).\n\n");
    }
    text.push_str(tables(&results, |_| true).trim_end());
    text.push('\n');
    write("README.md", &text);
}

fn write(name: &str, text: &str) {
    fs::write(folder().join(name), text).expect("the folder of results can be written");
    println!("{}", folder().join(name).display());
}

fn draw_bars(results: &Results, work: Work, figure: usize, name: &str) -> bool {
    let panels: Vec<_> = [Setting::OneCpu, Setting::AllCpus]
        .into_iter()
        .map(|setting| {
            let bar = |peer: Peer| {
                let rounds = &results.get(Key { work, peer, setting, figure })?.rounds;
                let value = median(&mut rounds.clone());
                let spread = (smallest(rounds), largest(rounds));
                Some(Bar { name: peer.name(), kind: peer.kind(), value, spread })
            };
            let bars = PEERS.iter().filter_map(|(peer, _)| bar(*peer)).collect();
            Panel { title: describe_setting(setting), bars }
        })
        .filter(|panel| !panel.bars.is_empty())
        .collect();
    if panels.is_empty() {
        return false;
    }
    let less = less_is_better(work);
    let better = if less { "less is better" } else { "more is better" };
    let title = format!("{}: {}: {}", work.name().to_uppercase(), describe(work), work.figures()[figure]);
    write(name, &bars::draw(&title, better, &panels, less));
    true
}

/// What a plot shows: the works with their numbers, and which of their figures.
struct Scale {
    title: &'static str,
    across: &'static str,
    works: &'static [(usize, Work)],
    figure: usize,
}

const MANY: &[(usize, Work)] = &[
    (10, Work::Connections(10)),
    (100, Work::Connections(100)),
    (1000, Work::Connections(1000)),
    (10_000, Work::Connections(10_000)),
];

const AT_ONCE: &[(usize, Work)] = &[
    (1, Work::InFlight(1)),
    (10, Work::InFlight(10)),
    (100, Work::InFlight(100)),
    (1000, Work::InFlight(1000)),
    (10_000, Work::InFlight(10_000)),
];

const CONNECTIONS: &[Scale] = &[
    Scale { title: "thousand calls/s", across: "connections", works: MANY, figure: 0 },
    Scale { title: "server's KiB a connection", across: "connections", works: MANY, figure: 2 },
];

const IN_FLIGHT: &[Scale] = &[
    Scale { title: "thousand calls/s", across: "calls at once", works: AT_ONCE, figure: 0 },
    Scale { title: "client's KiB for all", across: "calls at once", works: AT_ONCE, figure: 1 },
    Scale { title: "server's KiB for all", across: "calls at once", works: AT_ONCE, figure: 2 },
];

fn lines_of(results: &Results, scale: &Scale) -> Plot {
    let line = |peer: Peer| {
        let points: Vec<_> = scale
            .works
            .iter()
            .filter_map(|&(count, work)| {
                let key = Key { work, peer, setting: Setting::AllCpus, figure: scale.figure };
                let value = median(&mut results.get(key)?.rounds.clone());
                // What is not there is not drawn, and less than the kernel counts by is nothing.
                (value.is_finite() && value > 0.01).then_some((count as f64, value))
            })
            .collect();
        (points.len() > 1).then_some(Line { name: peer.name(), kind: peer.kind(), points })
    };
    let shown = PEERS.iter().filter(|(peer, _)| !peer.spins());
    Plot {
        title: scale.title,
        across: scale.across,
        lines: shown.filter_map(|(peer, _)| line(*peer)).collect(),
    }
}
