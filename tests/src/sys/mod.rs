//! What the tests need of the system that only unsafe code can do.

pub mod counting;
pub mod places;
pub mod processes;
pub mod seccomp;
pub mod terminal;
pub mod users;

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the process that a command starts have the pipes to the host.
pub fn leak_pipes_to_host<'a>(command: &'a mut Command, cookie: &str) -> &'a mut Command {
    let handles = handles(cookie);
    // SAFETY: between fork and exec the closure makes system calls and no more.
    unsafe {
        command.pre_exec(move || {
            for fd in handles {
                libc::fcntl(fd, libc::F_SETFD, 0);
            }
            Ok(())
        })
    }
}

/// Lets the process that a command starts inherit these descriptors.
pub fn leave_open<'a>(command: &'a mut Command, fds: &[i32]) -> &'a mut Command {
    let fds = fds.to_vec();
    // SAFETY: between fork and exec the closure makes system calls and no more.
    unsafe {
        command.pre_exec(move || {
            for &fd in &fds {
                libc::fcntl(fd, libc::F_SETFD, 0);
            }
            Ok(())
        })
    }
}

/// Has the system refuse the descriptors that are sent to a socket; whether it can.
pub fn refuse_descriptors(socket: &std::os::unix::net::UnixStream) -> bool {
    /// Since Linux 6.16.
    const SO_PASSRIGHTS: libc::c_int = 83;
    let (no, fd) = (0, std::os::fd::AsRawFd::as_raw_fd(socket));
    // SAFETY: the value is of the length that is told, and the kernel only reads it.
    unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, SO_PASSRIGHTS, (&raw const no).cast(), 4) == 0 }
}

/// The status flags of one of this process's descriptors.
pub fn status_flags(fd: i32) -> i32 {
    // SAFETY: the call reads flags and touches no memory.
    unsafe { libc::fcntl(fd, libc::F_GETFL) }
}

/// A file that every process would inherit which this one starts.
pub fn leaky_file() -> std::fs::File {
    let file = std::fs::File::open("/dev/zero").expect("it can be read");
    // SAFETY: the descriptor is the file's, which is open; a flag of it is cleared.
    let cleared = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&file), libc::F_SETFD, 0) };
    assert_eq!(cleared, 0);
    file
}

/// Closes the standard output of this process.
pub fn close_stdout() {
    // SAFETY: nothing of this process owns the descriptor; what prints gets an error.
    unsafe {
        libc::close(1);
    }
}

fn handles(cookie: &str) -> [i32; 2] {
    // A child of `panpipe::spawn` has no cookie of its own.
    let handles = std::env::var(cookie).or_else(|_| std::env::var("PANPIPE_HANDLES"));
    let handles = handles.expect("a host has started this process");
    let mut handles = handles.split(',').map(|handle| handle.parse().expect("a handle is a number"));
    [(); 2].map(|()| handles.next().expect("there are two"))
}

/// The pipes from and to the parent, whose handles the environment variable names. To be called
/// once in a process that is no plugin and no panpipe child.
pub fn pipes_to_host(cookie: &str) -> [std::fs::File; 2] {
    // SAFETY: the parent has passed the descriptors to this process, where no other code has taken
    // them up.
    handles(cookie).map(|fd| unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
}

/// The pipe to the host, of a process that is no plugin.
pub fn pipe_to_host(cookie: &str) -> std::fs::File {
    let [read, write] = pipes_to_host(cookie);
    // Another function closes it.
    std::mem::forget(read);
    write
}

/// Closes the pipes to and from the host.
pub fn close_pipes_to_host(cookie: &str) {
    for fd in handles(cookie) {
        // SAFETY: as above.
        unsafe {
            libc::close(fd);
        }
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
    micros_of(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// The processor time that this thread has used, in microseconds.
pub fn cpu_micros_of_this_thread() -> u64 {
    micros_of(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn micros_of(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of this frame.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(result, 0);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}
