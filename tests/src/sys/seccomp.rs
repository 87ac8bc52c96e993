//! System calls that the kernel refuses to a program, as a container's profile does.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A system call that panpipe can do without, and the argument that tells it from others.
#[derive(Debug, Clone, Copy)]
struct Optional {
    name: &'static str,
    number: libc::c_long,
    /// The index of an argument, and the value that is refused; every value without.
    argument: Option<(u32, u32)>,
}

const fn call(name: &'static str, number: libc::c_long) -> Optional {
    Optional { name, number, argument: None }
}

const fn option(name: &'static str, number: libc::c_long, index: u32, value: libc::c_int) -> Optional {
    Optional { name, number, argument: Some((index, value as u32)) }
}

/// Since Linux 6.6; libc has no name for it on every platform.
const FCHMODAT2: libc::c_long = 452;
/// Since Linux 6.16; libc has no name for it.
const SO_PASSRIGHTS: libc::c_int = 83;

/// What a kernel that is older, or a filter, may refuse to panpipe.
const OPTIONAL: &[Optional] = &[
    call("pwritev2", libc::SYS_pwritev2),
    call("preadv2", libc::SYS_preadv2),
    call("pidfd_open", libc::SYS_pidfd_open),
    call("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    call("pidfd_getfd", libc::SYS_pidfd_getfd),
    call("close_range", libc::SYS_close_range),
    call("sched_getaffinity", libc::SYS_sched_getaffinity),
    call("sched_yield", libc::SYS_sched_yield),
    call("openat2", libc::SYS_openat2),
    call("statx", libc::SYS_statx),
    call("renameat2", libc::SYS_renameat2),
    call("fchmodat2", FCHMODAT2),
    call("memfd_create", libc::SYS_memfd_create),
    call("inotify_init1", libc::SYS_inotify_init1),
    call("inotify_add_watch", libc::SYS_inotify_add_watch),
    option("waitid(P_PIDFD)", libc::SYS_waitid, 0, libc::P_PIDFD as libc::c_int),
    option("fcntl(F_SETPIPE_SZ)", libc::SYS_fcntl, 1, libc::F_SETPIPE_SZ),
    option("fcntl(F_GETPIPE_SZ)", libc::SYS_fcntl, 1, libc::F_GETPIPE_SZ),
    option("prctl(PR_SET_PDEATHSIG)", libc::SYS_prctl, 0, libc::PR_SET_PDEATHSIG),
    option("getsockopt(SO_PEERGROUPS)", libc::SYS_getsockopt, 2, libc::SO_PEERGROUPS),
    option("getsockopt(SO_PEERPIDFD)", libc::SYS_getsockopt, 2, libc::SO_PEERPIDFD),
    option("getsockopt(SO_SNDBUF)", libc::SYS_getsockopt, 2, libc::SO_SNDBUF),
    option("setsockopt(SO_SNDBUF)", libc::SYS_setsockopt, 2, libc::SO_SNDBUF),
    option("setsockopt(SO_PASSRIGHTS)", libc::SYS_setsockopt, 2, SO_PASSRIGHTS),
];

/// The names of the system calls that panpipe can do without.
pub fn optional_calls() -> impl Iterator<Item = &'static str> {
    OPTIONAL.iter().map(|optional| optional.name)
}

/// Has the kernel answer the named system call with `errno`, for the program that the
/// command starts and for every process that it starts in turn.
///
/// # Panics
///
/// When there is no optional call of this name.
pub fn deny(command: &mut Command, name: &str, errno: i32) {
    let denied = OPTIONAL.iter().find(|optional| optional.name == name);
    let filter = filter(*denied.unwrap_or_else(|| panic!("{name} is no optional system call")), errno);
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: the calls change this process alone; the filter outlives the second,
        // which reads it and nothing else.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure makes system calls and no more.
    unsafe {
        command.pre_exec(install);
    }
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// The filter in the kernel's own code. It reads `struct seccomp_data`: the number at 0, the
/// architecture at 4, the low half of each argument from 16 on.
fn filter(denied: Optional, errno: i32) -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut compared = vec![(4, ARCHITECTURE), (0, denied.number as u32)];
    compared.extend(denied.argument.map(|(index, value)| (16 + 8 * index, value)));
    let mut steps = Vec::new();
    for (index, &(offset, value)) in compared.iter().enumerate() {
        steps.push(step(LOAD, offset));
        // Past the comparisons that are left, and past the refusal, to the permission.
        let to_permission = 2 * (compared.len() - index - 1) + 1;
        steps.push(libc::sock_filter { jf: to_permission as u8, ..step(EQUAL, value) });
    }
    steps.push(step(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32));
    steps.push(step(RETURN, libc::SECCOMP_RET_ALLOW));
    steps
}
