//! The figures as tables of Markdown.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::job::{WORKS, Work};
use crate::peer::{PEERS, Peer};
use crate::results::{Key, Results, short};
use crate::setting::{SETTINGS, Setting};
use crate::stats::{largest, median, smallest};

/// What is known of the works that are asked for, a table for each figure.
pub fn tables(results: &Results, wanted: impl Fn(Work) -> bool) -> String {
    let mut text = String::new();
    for (work, name) in WORKS {
        if wanted(work) {
            for figure in 0..work.figures().len() {
                table(&mut text, results, work, name, figure);
            }
        }
    }
    text
}

/// The median of a figure's rounds.
pub fn median_of(results: &Results, key: Key) -> Option<f64> {
    results.get(key).map(|values| median(&mut values.rounds.clone()))
}

fn table(text: &mut String, results: &Results, work: Work, name: &str, figure: usize) {
    // What could not be counted is not shown.
    let get = |peer, setting| {
        let values = results.get(Key { work, peer, setting, figure })?;
        values.rounds.iter().any(|value| value.is_finite()).then_some(values)
    };
    let settings: Vec<_> = SETTINGS
        .into_iter()
        .filter(|(setting, _)| PEERS.iter().any(|(peer, _)| get(*peer, *setting).is_some()))
        .collect();
    if settings.is_empty() {
        return;
    }
    let _ = writeln!(text, "**{}: {}, {}**\n", name.to_uppercase(), describe(work), work.figures()[figure]);
    let all =
        PEERS.iter().flat_map(|(peer, _)| settings.iter().filter_map(|(setting, _)| get(*peer, *setting)));
    let dates: BTreeSet<_> = all.map(|values| values.run.as_str()).collect();
    let _ = writeln!(text, "{}\n", dates.into_iter().collect::<Vec<_>>().join(", "));
    let _ = write!(text, "| |");
    for (_, setting) in &settings {
        let setting = setting.replace('-', " ").replace("cpu", "CPU");
        let _ =
            write!(text, " {setting} | spread | of the floor | of {} |", rival(work, Peer::Panpipe).name());
    }
    let _ = writeln!(text, "\n|---|{}", "---:|".repeat(4 * settings.len()));
    for (peer, name) in PEERS {
        if settings.iter().all(|(setting, _)| get(peer, *setting).is_none()) {
            continue;
        }
        let _ = write!(text, "| {name} |");
        for &(setting, _) in &settings {
            let Some(values) = get(peer, setting) else {
                let _ = write!(text, " – | | | |");
                continue;
            };
            let mut rounds = values.rounds.clone();
            let value = median(&mut rounds);
            let ratio = |base: Peer| {
                let base = median_of(results, Key { work, peer: base, setting, figure });
                // Nothing is no measure.
                let base = base.filter(|&base| base > 0.0)?;
                Some(format!("{:.2}", value / base))
            };
            let of_floor = ratio(floor(peer)).unwrap_or_default();
            let of_rival = ratio(rival(work, peer)).unwrap_or_default();
            let spread = match rounds.len() {
                1 => String::new(),
                _ => format!("{}–{}", short(smallest(&rounds)), short(largest(&rounds))),
            };
            let _ = write!(text, " {} | {spread} | {of_floor} | {of_rival} |", short(value));
        }
        text.push('\n');
    }
    text.push('\n');
}

/// The bare system under the same bytes.
fn floor(peer: Peer) -> Peer {
    if peer.is_child() { Peer::RawPipes } else { Peer::RawSocket }
}

/// Whom a peer is compared with: stock tarpc with the same type of payload, but where
/// tarpc cannot do the work.
fn rival(work: Work, peer: Peer) -> Peer {
    match (work, peer) {
        // tarpc has no streams, and its calls wait for large messages.
        (Work::Items | Work::Beside, _) => Peer::Remoc,
        (Work::Spawn, _) => Peer::RawPipes,
        (_, Peer::TarpcBytes | Peer::TarpcBytesOverPipe) => Peer::TarpcBytes,
        (_, Peer::PanpipeBytes | Peer::PanpipeChildBytes) => Peer::TarpcBytes,
        _ => Peer::TarpcVec,
    }
}

/// What is done, in words.
pub fn describe(work: Work) -> String {
    match work {
        Work::RoundTrip => "one caller, 64-byte echo".into(),
        Work::Callers => "64 callers on one connection, 64-byte echo".into(),
        Work::Bulk => "1 MiB echo".into(),
        Work::Connections(count) => format!("{count} connections with one call each, 64-byte echo"),
        Work::Connect => "connect and first call".into(),
        Work::Idle => "the server's own memory, beside its code, for 1,000 idle connections".into(),
        Work::Items => "a stream from the server".into(),
        Work::Beside => "64-byte echo beside 64 MiB ones on the same connection".into(),
        Work::Spawn => "a child's start and first call".into(),
        Work::InFlight(count) => format!("{count} calls under way on one connection, 64-byte echo"),
    }
}

/// Whether its figures are times or sizes.
pub fn less_is_better(work: Work) -> bool {
    matches!(work, Work::RoundTrip | Work::Connect | Work::Idle | Work::Beside | Work::Spawn)
}

/// How a setting is called.
pub fn describe_setting(setting: Setting) -> &'static str {
    match setting {
        Setting::OneCpu => "both processes on one CPU",
        Setting::AllCpus => "all CPUs",
        Setting::ManyThreads => "all CPUs, runtimes of many threads",
    }
}
