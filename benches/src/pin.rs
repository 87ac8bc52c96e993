//! Binding a process to one processor.

use rustix::thread::{CpuSet, sched_setaffinity};

/// Binds this process, which has one thread yet, to a processor.
pub fn pin_to(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("there is such a processor");
}

/// Binds it to the processor that the environment names, if it names one.
pub fn pin_as_told() {
    if let Some(cpu) = std::env::var("BENCH_CPU").ok().and_then(|cpu| cpu.parse().ok()) {
        pin_to(cpu);
    }
}
