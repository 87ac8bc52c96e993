//! A process's memory, as the kernel counts it.

/// What is resident now, in KiB.
pub fn resident(pid: u32) -> f64 {
    status(pid, "VmRSS:")
}

/// What of it is its own, and no page of a file that is mapped: the program's code takes
/// the same however many connections there are.
pub fn own(pid: u32) -> f64 {
    resident(pid) - status(pid, "RssFile:")
}

/// The most that was ever resident, in KiB.
pub fn peak(pid: u32) -> f64 {
    status(pid, "VmHWM:")
}

fn status(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
}
