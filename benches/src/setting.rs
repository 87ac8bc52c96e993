//! How a run is done: what the table's program tells its two processes by their
//! environment.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

/// Names the one processor.
pub const CPU: &str = "BENCH_CPU";
/// `many` for runtimes of as many threads as there are processors.
pub const THREADS: &str = "BENCH_THREADS";
/// Set where the figures do not matter, only that there are some.
pub const QUICK: &str = "BENCH_QUICK";

/// How a run is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Both processes on one processor: what the software costs.
    OneCpu,
    /// On all processors, runtimes of one thread: what a user sees.
    AllCpus,
    /// On all processors, runtimes of many threads.
    ManyThreads,
}

/// All settings, in the order of the tables.
pub const SETTINGS: [(Setting, &str); 3] =
    [(Setting::OneCpu, "one-cpu"), (Setting::AllCpus, "all-cpus"), (Setting::ManyThreads, "many-threads")];

impl Setting {
    /// Its name in arguments and results.
    pub fn name(self) -> &'static str {
        SETTINGS
            .iter()
            .find(|(setting, _)| *setting == self)
            .map(|(_, name)| *name)
            .expect("all settings have names")
    }
}

/// Makes this process, which has one thread yet, as it was told to be.
pub fn start() {
    if let Some(cpu) = std::env::var(CPU).ok().and_then(|cpu| cpu.parse().ok()) {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).expect("there is such a processor");
    }
    // A thousand open files, the usual limit, are fewer than the works need.
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
}

/// A runtime of one thread, or of as many as there are processors.
pub fn runtime() -> Runtime {
    let many = std::env::var_os(THREADS).is_some_and(|threads| threads == "many");
    let mut builder = if many { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.enable_all().build().expect("there is an event loop")
}

fn quick() -> bool {
    std::env::var_os(QUICK).is_some()
}

/// How long calls are counted.
pub fn window() -> Duration {
    Duration::from_millis(if quick() { 20 } else { 400 })
}

/// How long calls are made before.
pub fn warm_up() -> Duration {
    Duration::from_millis(if quick() { 5 } else { 100 })
}

/// How long calls are counted where a single one can take a tenth of a second.
pub fn long_window() -> Duration {
    Duration::from_millis(if quick() { 300 } else { 2000 })
}
