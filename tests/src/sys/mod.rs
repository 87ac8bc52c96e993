//! What the tests need of the system that only unsafe code can do.

pub mod counting;
pub mod users;

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has a program run as another user, with these supplementary groups.
pub fn run_as(command: &mut Command, uid: u32, gid: u32, groups: &[u32]) {
    let groups = groups.to_vec();
    let become_them = move || {
        // SAFETY: the list lives as long as the closure, and its length is told.
        let grouped = unsafe { libc::setgroups(groups.len(), groups.as_ptr()) };
        // SAFETY: neither is about memory.
        let done = unsafe { grouped == 0 && libc::setgid(gid) == 0 && libc::setuid(uid) == 0 };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure makes system calls alone.
    unsafe {
        command.pre_exec(become_them);
    }
}

/// Gives SIGPIPE its default action, which ends the process.
pub fn die_of_sigpipe() {
    // SAFETY: SIG_DFL is a valid disposition, and no other thread runs yet.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    assert_ne!(before, libc::SIG_ERR);
}

/// Raises the number of descriptors that this process may open to what it may raise
/// it to.
pub fn allow_descriptors() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)
        .expect("a soft limit can be raised to the hard one");
}

/// Lets a program open so many descriptors.
pub fn limit_descriptors(command: &mut Command, most: u64) {
    let limit = rustix::process::Rlimit { current: Some(most), maximum: Some(most) };
    let set = move || Ok(rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?);
    // SAFETY: between fork and exec the closure makes one system call and no more.
    unsafe {
        command.pre_exec(set);
    }
}

/// The processor time that another process has used, in microseconds.
pub fn cpu_micros_of(pid: u32) -> u64 {
    // SAFETY: the calls take a number and a pointer to a timespec of this frame.
    let time = unsafe {
        let mut clock = 0;
        assert_eq!(libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock), 0);
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        assert_eq!(libc::clock_gettime(clock, &mut time), 0);
        time
    };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// The processor time that this process has used, in microseconds.
pub fn cpu_micros() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of this frame.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}
