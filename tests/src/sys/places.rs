//! Programs of the tests in another place: another namespace, another umask.

use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::Mode;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Has `command` run under a umask.
pub fn with_umask(command: &mut Command, mask: u32) -> &mut Command {
    let set = move || {
        rustix::process::umask(Mode::from_raw_mode(mask));
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes one system call.
    unsafe { command.pre_exec(set) }
}

/// Has `command` run where /proc is not mounted. It takes root, so it comes before a change of
/// user.
pub fn without_proc(command: &mut Command) -> &mut Command {
    let leave = || {
        // SAFETY: the process has one thread, and no descriptor that the call could unshare.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        unmount("/proc", UnmountFlags::DETACH)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls; its paths are short, and
    // need no memory.
    unsafe { command.pre_exec(leave) }
}

/// Has `command` run in a user namespace of its own, in which user `uid` alone has a number, its
/// own; or none where `uid` is `None`. It comes after a change of user.
pub fn in_user_namespace(command: &mut Command, uid: Option<u32>) -> &mut Command {
    let map = uid.map(|uid| CString::new(format!("{uid} {uid} 1")).expect("it has no zero"));
    let enter = move || {
        // SAFETY: the calls change this process alone; the strings are this closure's own.
        unsafe {
            // A change of user has made the files of this process in /proc root's.
            libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
            if libc::unshare(libc::CLONE_NEWUSER) != 0 {
                return Err(io::Error::last_os_error());
            }
            let Some(map) = &map else { return Ok(()) };
            let file = libc::open(c"/proc/self/uid_map".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            let len = map.as_bytes().len();
            if file < 0 || libc::write(file, map.as_ptr().cast(), len) != len as isize {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls; what it allocates was
    // allocated before.
    unsafe { command.pre_exec(enter) }
}

/// Has the programs that `command` starts be in a pid namespace of their own.
pub fn children_in_pid_namespace(command: &mut Command) -> &mut Command {
    let enter = || {
        // SAFETY: the process has one thread, and no descriptor that the call could unshare.
        Ok(unsafe { unshare_unsafe(UnshareFlags::NEWPID) }?)
    };
    // SAFETY: between fork and exec the closure makes one system call.
    unsafe { command.pre_exec(enter) }
}

/// Forks this process; true in the child, which must end soon: it has no other thread. The
/// parent waits for its end.
pub fn is_forked_child() -> bool {
    // SAFETY: the callers are programs of one thread; the child calls only what they say.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "a process can be forked");
    if pid > 0 {
        // SAFETY: it is a child of this process, and nothing is asked of its end.
        let ended = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        assert_eq!(ended, pid);
    }
    pid == 0
}
