//! The figures that stand in `benches/results`, one a line, each of the run that it
//! was last measured in.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::job::{WORKS, Work};
use crate::peer::{PEERS, Peer};
use crate::setting::{SETTINGS, Setting};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// What is done.
    pub work: Work,
    /// By whom.
    pub peer: Peer,
    /// How.
    pub setting: Setting,
    /// Which of the work's figures.
    pub figure: usize,
}

impl Key {
    /// Its place in the file, and the same for no other.
    fn order(self) -> [usize; 4] {
        let work = WORKS.iter().position(|(work, _)| *work == self.work);
        let peer = PEERS.iter().position(|(peer, _)| *peer == self.peer);
        let setting = SETTINGS.iter().position(|(setting, _)| *setting == self.setting);
        [work, setting, peer, Some(self.figure)].map(|place| place.unwrap_or(usize::MAX))
    }
}

/// The values of a figure.
#[derive(Debug, Clone)]
pub struct Values {
    /// What is measured.
    pub key: Key,
    /// The run's name in the list of runs.
    pub run: String,
    /// One value for each round.
    pub rounds: Vec<f64>,
}

/// All that is known.
#[derive(Debug, Default)]
pub struct Results {
    /// The runs' names, which are their dates, and what machine they were on.
    pub runs: BTreeMap<String, String>,
    values: BTreeMap<[usize; 4], Values>,
}

/// The folder of results.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

impl Results {
    /// Reads the file, if there is one. Lines of works and peers that are no more are
    /// left out.
    pub fn read() -> io::Result<Results> {
        let mut results = Results::default();
        let text = match fs::read_to_string(folder().join("figures.tsv")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(results),
            text => text?,
        };
        for line in text.lines() {
            let words: Vec<_> = line.split('\t').collect();
            match words[..] {
                ["run", date, machine] => {
                    results.runs.insert(date.to_owned(), machine.to_owned());
                }
                ["figure", work, setting, peer, figure, run, values] => {
                    let Some(key) = parse_key(work, setting, peer, figure) else { continue };
                    let rounds = values.split(' ').filter_map(|value| value.parse().ok()).collect();
                    results.put(Values { key, run: run.to_owned(), rounds });
                }
                _ => {}
            }
        }
        Ok(results)
    }

    /// Adds a figure, or replaces what it was.
    pub fn put(&mut self, values: Values) {
        self.values.insert(values.key.order(), values);
    }

    /// The values of a figure.
    pub fn get(&self, key: Key) -> Option<&Values> {
        self.values.get(&key.order())
    }

    /// Writes the file.
    pub fn write(&self) -> io::Result<()> {
        let mut text = String::from(
            "# What `cargo bench -p panpipe-benches` measured: every round's value of every figure.\n",
        );
        for (date, machine) in &self.runs {
            if self.values.values().any(|values| values.run == *date) {
                let _ = writeln!(text, "run\t{date}\t{machine}");
            }
        }
        for Values { key, run, rounds } in self.values.values() {
            let (work, setting, peer) = (key.work.name(), key.setting.name(), key.peer.name());
            let figure = key.work.figures()[key.figure];
            let values: Vec<_> = rounds.iter().map(|value| short(*value)).collect();
            let _ =
                writeln!(text, "figure\t{work}\t{setting}\t{peer}\t{figure}\t{run}\t{}", values.join(" "));
        }
        fs::create_dir_all(folder())?;
        fs::write(folder().join("figures.tsv"), text)
    }
}

fn parse_key(work: &str, setting: &str, peer: &str, figure: &str) -> Option<Key> {
    let work: Work = work.parse().ok()?;
    Some(Key {
        work,
        peer: peer.parse().ok()?,
        setting: SETTINGS.iter().find(|(_, name)| *name == setting)?.0,
        figure: work.figures().iter().position(|name| *name == figure)?,
    })
}

/// A value with the digits that mean something.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
