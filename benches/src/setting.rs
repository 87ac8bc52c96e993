//! What the table's program tells the two processes of a run by their environment.

use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

/// Binds this process, which has one thread yet, to the processor that
/// `BENCH_CPU` names, if it names one.
pub fn pin_as_told() {
    if let Some(cpu) = std::env::var("BENCH_CPU").ok().and_then(|cpu| cpu.parse().ok()) {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).expect("there is such a processor");
    }
}

/// A runtime of one thread, or of as many as there are processors where
/// `BENCH_THREADS` is `many`.
pub fn runtime_as_told() -> Runtime {
    let many = std::env::var_os("BENCH_THREADS").is_some_and(|threads| threads == "many");
    let mut builder = if many { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.enable_all().build().expect("there is an event loop")
}
