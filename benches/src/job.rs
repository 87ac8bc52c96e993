//! What is done in one run.

use std::str::FromStr;

use crate::peer::{Peer, Unknown};
use crate::setting::Setting;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// One caller, 64-byte echo: the time of a call.
    RoundTrip,
    /// 64 callers on one connection, 64-byte echo: calls a second.
    Callers,
    /// 1 MiB echo: MiB a second.
    Bulk,
    /// So many connections with one call outstanding each: calls a second, and the
    /// memory of both processes for each connection.
    Connections(usize),
    /// Connect and first call: the time of both.
    Connect,
    /// 1,000 idle connections: the server's memory for each.
    Idle,
    /// One stream from server to client of items of 64 bytes, then of 64 KiB: items
    /// a second, then MiB a second.
    Items,
    /// One caller, 64-byte echo, beside another that echoes 64 MiB on the same
    /// connection: the time of a small call.
    Beside,
    /// A child started, and its first 64-byte echo: the time of both.
    Spawn,
    /// So many callers on one connection: calls a second, and the memory of both
    /// processes for all.
    InFlight(usize),
}

/// All works, in the order of the table's rows.
pub const WORKS: [(Work, &str); 17] = [
    (Work::RoundTrip, "w1"),
    (Work::Callers, "w2"),
    (Work::Bulk, "w3"),
    (Work::Connections(100), "w4"),
    (Work::Connect, "w5"),
    (Work::Idle, "w6"),
    (Work::Items, "w7"),
    (Work::Beside, "w8"),
    (Work::Spawn, "w9"),
    (Work::Connections(10), "conns-10"),
    (Work::Connections(1000), "conns-1000"),
    (Work::Connections(10_000), "conns-10000"),
    (Work::InFlight(1), "flight-1"),
    (Work::InFlight(10), "flight-10"),
    (Work::InFlight(100), "flight-100"),
    (Work::InFlight(1000), "flight-1000"),
    (Work::InFlight(10_000), "flight-10000"),
];

/// The size of a small call's payload, in bytes.
pub const SMALL: usize = 64;
/// The size of a large call's payload, in bytes.
pub const LARGE: usize = 1 << 20;
/// The size of a stream's large item, in bytes.
pub const BLOCK: usize = 64 << 10;
/// The size of the payload that small calls are made beside, in bytes.
pub const HUGE: usize = 64 << 20;

impl Work {
    /// Its name in arguments and results.
    pub fn name(self) -> &'static str {
        WORKS.iter().find(|(work, _)| *work == self).map(|(_, name)| *name).expect("all works have names")
    }

    /// The size of this work's payload.
    pub fn size(self) -> usize {
        if self == Work::Bulk { LARGE } else { SMALL }
    }

    /// How many connections the server has to expect.
    pub fn connections(self) -> usize {
        match self {
            Work::Connections(count) => count,
            Work::Idle => 1000,
            // Those that have ended are not all forgotten at once.
            Work::Connect => 500,
            _ => 1,
        }
    }

    /// How many calls at once one connection has to expect.
    pub fn calls(self) -> usize {
        match self {
            Work::Callers => 64,
            Work::InFlight(count) => count,
            _ => 2,
        }
    }

    /// The names of its figures, with their units.
    pub fn figures(self) -> &'static [&'static str] {
        match self {
            Work::RoundTrip => &["p50, µs", "p99, µs"],
            Work::Callers => &["thousand calls/s"],
            Work::Bulk => &["MiB/s"],
            Work::Connections(_) => {
                &["thousand calls/s", "client KiB a connection", "server KiB a connection"]
            }
            Work::Connect => &["µs"],
            Work::Idle => &["KiB a connection"],
            Work::Items => &["64 B, thousand items/s", "64 KiB, MiB/s"],
            Work::Beside => &["idle p99, µs", "busy p50, µs", "busy p99, µs"],
            Work::Spawn => &["µs"],
            Work::InFlight(_) => &["thousand calls/s", "client KiB", "server KiB"],
        }
    }

    /// Whether its last figure is the server's and its peak's, which the table's
    /// program adds.
    pub fn takes_the_servers_peak(self) -> bool {
        matches!(self, Work::Connections(_) | Work::InFlight(_))
    }

    /// Whether it is done so.
    pub fn is_taken(self, setting: Setting) -> bool {
        let scale = self.takes_the_servers_peak() && self != Work::Connections(100);
        match setting {
            // Memory is the same, and scale is shown for what a user has.
            Setting::OneCpu => self != Work::Idle && !scale,
            Setting::AllCpus => true,
            Setting::ManyThreads => {
                matches!(self, Work::RoundTrip | Work::Callers | Work::Bulk | Work::Connections(100))
            }
        }
    }
}

impl FromStr for Work {
    type Err = Unknown;

    fn from_str(word: &str) -> Result<Self, Unknown> {
        WORKS.iter().find(|(_, name)| *name == word).map(|(work, _)| *work).ok_or(Unknown)
    }
}

/// What the two programs of a run are told by their arguments: `PEER WORK PLACE`,
/// and the client also the server's program.
#[derive(Debug)]
pub struct Job {
    /// By whom.
    pub peer: Peer,
    /// What.
    pub work: Work,
    /// The path at which the server is found.
    pub place: String,
    /// The server's program, for who starts it as a child.
    pub server: String,
}

impl Job {
    /// The job of this process.
    pub fn from_args() -> Job {
        let mut args = std::env::args().skip(1);
        let mut arg = || args.next().expect("the arguments are PEER WORK PLACE [SERVER]");
        Job {
            peer: arg().parse().expect("a peer"),
            work: arg().parse().expect("a work"),
            place: arg(),
            server: args.next().unwrap_or_default(),
        }
    }
}

/// Says to the table's program that the server listens.
pub fn ready() {
    println!("ready");
}

/// Says what was measured; who has only kept connections has spoken already.
pub fn report(figures: &[f64]) {
    if figures.is_empty() {
        return;
    }
    let figures: Vec<_> = figures.iter().map(ToString::to_string).collect();
    println!("{}", figures.join(" "));
}
