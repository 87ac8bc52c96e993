//! Who is at the other end: what the system keeps of that with the connection,
//! and what it tells of the process when it is asked.
//!
//! A pid alone is never trusted to mean the process that it meant before: a pidfd
//! is, and the pid that it stands for is its own as long as it lives.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::ptr;
use std::sync::{Arc, Weak};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, getegid, geteuid, getgroups, pidfd_open, waitid,
};
use rustix::thread::CapabilitySet;

use super::Credentials;
use super::id_map::{Kind, may_be_unmapped};
use crate::error::ImpersonateError;
use crate::peer::Peer;

/// By what the process at the other end can be asked about.
#[derive(Debug, Clone)]
pub(crate) enum Connected {
    /// By nothing.
    Nothing,
    /// It is this one.
    ThisProcess,
    /// By the socket that joins the two, for as long as it is open.
    Socket(Weak<OwnedFd>),
    /// By a pidfd: a child.
    Child(Arc<OwnedFd>),
}

/// This process.
pub(crate) fn this_process() -> Peer {
    Peer {
        pid: Some(std::process::id()),
        uid: Some(geteuid().as_raw()),
        gid: Some(getegid().as_raw()),
        connected: Connected::ThisProcess,
    }
}

/// Its user.
pub(crate) fn this_user() -> Option<u32> {
    Some(geteuid().as_raw())
}

/// Who is at the other end of a socket.
pub(super) fn peer_of(socket: &Arc<OwnedFd>) -> io::Result<Peer> {
    let credentials = socket_credentials(socket.as_fd())?;
    let is_known = !may_be_unmapped(Kind::User, credentials.uid) || is_this_user(socket.as_fd());
    Ok(Peer {
        // Nought is a process of which this one's pid namespace knows nothing.
        pid: u32::try_from(credentials.pid).ok().filter(|&pid| pid != 0),
        uid: Some(credentials.uid).filter(|_| is_known),
        gid: Some(credentials.gid),
        connected: Connected::Socket(Arc::downgrade(socket)),
    })
}

/// Whether the process at the other end is of this process's user, whatever number that has.
///
/// The kernel lets a process without capabilities signal the processes of its own user alone,
/// and compares users, not their numbers. Signal 0 is sent to nobody.
fn is_this_user(socket: BorrowedFd<'_>) -> bool {
    let may_signal_others =
        rustix::thread::capabilities(None).map_or(true, |sets| sets.effective.contains(CapabilitySet::KILL));
    if may_signal_others {
        return false;
    }
    socket_process(socket).is_ok_and(|process| test_signal(process.as_fd()))
}

fn test_signal(process: BorrowedFd<'_>) -> bool {
    // SAFETY: the descriptor is open while it is borrowed; no information about the signal is
    // passed, and none is sent.
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), 0, ptr::null::<libc::siginfo_t>(), 0)
    };
    sent == 0
}

/// A child of this process that nobody has waited for.
pub(crate) fn child_process(pid: u32) -> Peer {
    let unknown = Peer { pid: Some(pid), ..Peer::unknown() };
    let Ok(pidfd) = child_pidfd(pid) else { return unknown };
    let (uid, gid) = real_ids(pidfd.as_fd()).map_or((None, None), |(uid, gid)| (Some(uid), Some(gid)));
    Peer { uid, gid, connected: Connected::Child(Arc::new(pidfd)), ..unknown }
}

fn child_pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    // Of another process than a child this is an error. It leaves the child's end to
    // whoever waits for it.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::PidFd(pidfd.as_fd()), options)?;
    Ok(pidfd)
}

/// As whom a process was started, whatever set-user-ID program it runs by now.
fn real_ids(process: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let status = fs::read_to_string(folder_of(process)?.join("status"))?;
    let first = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    first("Uid:").zip(first("Gid:")).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

impl Connected {
    /// There is nothing to be asked.
    pub(crate) const NOTHING: Connected = Connected::Nothing;

    /// The supplementary groups.
    pub(crate) fn groups(&self) -> io::Result<Vec<u32>> {
        match self {
            Connected::Nothing => Err(unknown()),
            Connected::ThisProcess => Ok(getgroups()?.into_iter().map(|group| group.as_raw()).collect()),
            Connected::Socket(socket) => socket_groups(open(socket)?.as_fd()),
            Connected::Child(_) => Err(unsupported(
                "the groups of a child are not known: the system does not keep who is at the end of an anonymous pipe",
            )),
        }
    }

    /// The program that the process runs.
    pub(crate) fn executable(&self) -> io::Result<PathBuf> {
        match self {
            Connected::Nothing => Err(unknown()),
            Connected::ThisProcess => fs::read_link("/proc/self/exe"),
            Connected::Socket(socket) => executable_of(socket_process(open(socket)?.as_fd())?.as_fd()),
            Connected::Child(process) => executable_of(process.as_fd()),
        }
    }

    /// Whether the process has not ended.
    pub(crate) fn is_running(&self) -> io::Result<bool> {
        match self {
            Connected::Nothing => Err(unknown()),
            Connected::ThisProcess => Ok(true),
            Connected::Socket(socket) => match socket_process(open(socket)?.as_fd()) {
                Ok(process) => lives(process.as_fd()),
                // The kernel gives none for a process that has been waited for.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error),
            },
            Connected::Child(process) => lives(process.as_fd()),
        }
    }

    /// As whom the process may do what it does, from one source, which nobody but the
    /// system writes.
    pub(crate) fn credentials(&self) -> Result<Credentials, ImpersonateError> {
        let system = |source| ImpersonateError::System { what: "the caller's groups cannot be had", source };
        match self {
            Connected::Nothing | Connected::Child(_) => Err(ImpersonateError::NoCaller),
            Connected::ThisProcess => {
                let groups = self.groups().map_err(system)?;
                Ok(Credentials::new(geteuid().as_raw(), getegid().as_raw(), groups))
            }
            Connected::Socket(socket) => {
                let socket = socket.upgrade().ok_or(ImpersonateError::Disconnected)?;
                let ids = socket_credentials(socket.as_fd()).map_err(system)?;
                let groups = socket_groups(socket.as_fd()).map_err(system)?;
                Ok(Credentials::new(ids.uid, ids.gid, groups))
            }
        }
    }
}

fn open(socket: &Weak<OwnedFd>) -> io::Result<Arc<OwnedFd>> {
    socket.upgrade().ok_or_else(|| {
        let why = "the connection has ended, and with it the system's knowledge of who was at the other end";
        io::Error::new(io::ErrorKind::NotConnected, why)
    })
}

fn unknown() -> io::Error {
    unsupported("nothing is known of the process at the other end: the system tells it of named pipes")
}

fn unsupported(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}

fn ended() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        "the process at the other end has ended, and its pid may be another's",
    )
}

// ---- what the system keeps with a socket ----

fn socket_credentials(socket: BorrowedFd<'_>) -> io::Result<libc::ucred> {
    // Not rustix's: its pid is never nought, and the kernel's can be.
    let mut credentials = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let room = mem::size_of_val(&credentials);
    // SAFETY: the room is that of the plain struct, whatever bytes are written into it.
    let len = unsafe { socket_option(socket, libc::SO_PEERCRED, (&raw mut credentials).cast(), room) }?;
    if len != room || credentials.uid == u32::MAX {
        return Err(unsupported("the system does not say who is at the other end of this socket"));
    }
    Ok(credentials)
}

fn socket_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 32];
    loop {
        let room = mem::size_of_val(&groups[..]);
        // SAFETY: the room is that of the vector's plain numbers.
        match unsafe { socket_option(socket, libc::SO_PEERGROUPS, groups.as_mut_ptr().cast(), room) } {
            Ok(len) => {
                groups.truncate(len / mem::size_of::<u32>());
                return Ok(groups);
            }
            // There are no more than 65,536.
            Err(Errno::RANGE) if groups.len() < 1 << 17 => groups.resize(groups.len() * 2, 0),
            Err(other) => return Err(other.into()),
        }
    }
}

/// The process that connected, or for a client the one that listened.
fn socket_process(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut pidfd = -1;
    let room = mem::size_of_val(&pidfd);
    // SAFETY: the room is that of the number.
    match unsafe { socket_option(socket, libc::SO_PEERPIDFD, (&raw mut pidfd).cast(), room) } {
        // SAFETY: the kernel has just opened it for this call, close-on-exec, and
        // nobody else knows of it.
        Ok(_) if pidfd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(pidfd) }),
        Ok(_) | Err(Errno::NOPROTOOPT) => Err(unsupported(
            "this system tells the pid of the process at the other end and no more, and a pid may be another's by now; it takes Linux 6.5",
        )),
        // What kernels say, older and newer ones, when the process has been waited for.
        Err(Errno::INVAL | Errno::SRCH) => Err(ended()),
        Err(other) => Err(other.into()),
    }
}

/// Asks for an option of a socket; gives how many bytes were written.
///
/// # Safety
///
/// `value` must be good for writing `room` bytes, of any value.
unsafe fn socket_option(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    value: *mut libc::c_void,
    room: usize,
) -> Result<usize, Errno> {
    let mut len = libc::socklen_t::try_from(room).map_err(|_| Errno::INVAL)?;
    // SAFETY: the descriptor is open while it is borrowed; the kernel writes no more
    // than `len` bytes at `value`, which the caller vouches for.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, &mut len) };
    if result == 0 { Ok(len as usize) } else { Err(last_errno()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

// ---- what the system tells of a process ----

/// Whether the process of a pidfd has not ended.
fn lives(process: BorrowedFd<'_>) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        // It can be read from once the process has ended.
        match poll(&mut [PollFd::from_borrowed_fd(process, PollFlags::IN)], Some(&now)) {
            Ok(ready) => return Ok(ready == 0),
            Err(Errno::INTR) => {}
            Err(other) => return Err(other.into()),
        }
    }
}

fn executable_of(process: BorrowedFd<'_>) -> io::Result<PathBuf> {
    let folder = folder_of(process)?;
    let link = fs::read_link(folder.join("exe"));
    // Only now: while it lives its pid is nobody else's, so what was read is its own.
    if !lives(process)? {
        return Err(ended());
    }
    link.map_err(|error| {
        // The process lives, so it has a program. Where /proc is mounted with `hidepid` the folders of
        // other users' processes do not exist: that is a refusal too.
        let error = match error.kind() {
            io::ErrorKind::NotFound => io::Error::from(rustix::io::Errno::ACCESS),
            _ => error,
        };
        let why = format!("the program in {} cannot be seen by this user: {error}", folder.display());
        io::Error::new(error.kind(), why)
    })
}

/// Where the system tells of a process, by the pid that its pidfd stands for now.
fn folder_of(process: BorrowedFd<'_>) -> io::Result<PathBuf> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).map(str::trim);
    match pid.and_then(|pid| pid.parse::<i32>().ok()) {
        Some(pid @ 1..) => Ok(PathBuf::from(format!("/proc/{pid}"))),
        Some(-1) => Err(ended()),
        _ => Err(unsupported(
            "the process at the other end cannot be seen from here: it is of another container",
        )),
    }
}

/// The name of a user.
pub(crate) fn user_name(uid: u32) -> io::Result<String> {
    /// More than any name service writes of a user.
    const MOST: usize = 1 << 20;
    let mut room: Vec<libc::c_char> = vec![0; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: the pointers are to this frame's own places, and the length is the room's.
        let failed =
            unsafe { libc::getpwuid_r(uid, entry.as_mut_ptr(), room.as_mut_ptr(), room.len(), &mut found) };
        return match failed {
            libc::ERANGE if room.len() < MOST => {
                room.resize(room.len() * 2, 0);
                continue;
            }
            libc::EINTR => continue,
            0 if found.is_null() => Err(no_such_user(uid)),
            0 => {
                // SAFETY: the entry was found, so it is filled in, and its name is a
                // string in the room, which lives on.
                let name = unsafe { CStr::from_ptr((*found).pw_name) };
                name.to_str().map(str::to_owned).map_err(|_| {
                    let why = format!("the name of user {uid} is not UTF-8");
                    io::Error::new(io::ErrorKind::InvalidData, why)
                })
            }
            // So some name services say that there is none.
            libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => Err(no_such_user(uid)),
            other => {
                let error = io::Error::from_raw_os_error(other);
                Err(io::Error::new(error.kind(), format!("the name of user {uid} cannot be had: {error}")))
            }
        };
    }
}

fn no_such_user(uid: u32) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("user {uid} has no name: this machine knows no such user"),
    )
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn a_socket_tells_who_is_at_its_other_end_while_it_is_open() {
        let (one, _other) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let one = Arc::new(one);
        let (peer, this) = (peer_of(&one).unwrap(), this_process());
        assert_eq!(peer, this);
        let sorted = |groups: io::Result<Vec<u32>>| {
            let mut groups = groups.unwrap();
            groups.sort_unstable();
            groups
        };
        assert_eq!(sorted(peer.groups()), sorted(this.groups()));
        assert_eq!(peer.executable().unwrap(), std::env::current_exe().unwrap());
        assert_eq!(this.executable().unwrap(), std::env::current_exe().unwrap());
        assert!(peer.is_running().unwrap() && this.is_running().unwrap());
        drop(one);
        for error in [
            peer.groups().map(|_| ()).unwrap_err(),
            peer.executable().map(|_| ()).unwrap_err(),
            peer.is_running().map(|_| ()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::NotConnected, "{error}");
        }
        assert!(matches!(peer.connected.credentials(), Err(ImpersonateError::Disconnected)));
        // The name is the uid's, whatever became of the socket.
        let name = |peer: &Peer| peer.user_name().map_err(|error| error.to_string());
        assert_eq!(name(&peer), name(&this));
    }

    #[test]
    fn a_child_is_known_until_it_is_waited_for_and_is_not_taken_for_another_afterwards() {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let peer = child_process(cat.id());
        assert_eq!(peer, Peer { pid: Some(cat.id()), ..this_process() });
        assert_eq!(peer.executable().unwrap().file_name(), fs::canonicalize("/bin/cat").unwrap().file_name());
        assert!(peer.is_running().unwrap());
        assert_eq!(peer.groups().unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert!(matches!(peer.connected.credentials(), Err(ImpersonateError::NoCaller)));
        drop(cat.stdin.take());
        cat.wait().unwrap();
        assert!(!peer.is_running().unwrap());
        assert_eq!(peer.executable().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn of_what_is_no_child_nothing_is_known() {
        for pid in [0, std::process::id(), 1, u32::MAX] {
            let peer = child_process(pid);
            assert_eq!((peer.uid, peer.gid), (None, None));
            assert_eq!(peer.is_running().unwrap_err().kind(), io::ErrorKind::Unsupported);
            assert_eq!(peer.user_name().unwrap_err().kind(), io::ErrorKind::Unsupported);
        }
    }

    #[test]
    fn a_user_has_a_name_or_the_error_says_which_has_none() {
        assert_eq!(user_name(0).unwrap(), "root");
        let error = user_name(3_999_999_999).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("3999999999"), "{error}");
    }
}
