//! Sockets that a service manager has bound and passed on: `LISTEN_FDS`.

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use rustix::fs::fstat;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, getsockname, sockopt};

/// A socket that listens at a path and that nobody has taken up yet.
#[derive(Debug)]
struct Passed {
    fd: RawFd,
    path: PathBuf,
    /// What the number stands for, as long as it stands for that socket.
    inode: u64,
}

/// Looked at once, before this process has given the numbers another meaning. They
/// are close-on-exec from then on; the variables stay, for others in this process.
static PASSED: LazyLock<Mutex<Vec<Passed>>> = LazyLock::new(|| {
    let fds = sd_notify::listen_fds().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    Mutex::new(fds.into_iter().filter_map(look).collect())
});

/// Takes up the socket that was bound to this path, if one was passed on.
pub(super) fn take(path: &Path) -> Option<OwnedFd> {
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    let index = passed.iter().position(|one| one.path == path)?;
    let taken = passed.swap_remove(index);
    // Somebody else in this process may have closed it, and the number be another's.
    look(taken.fd).filter(|there| there.inode == taken.inode)?;
    // SAFETY: it is open and is the socket that the manager has passed to this
    // process to be taken up, as was just seen; it has left the list, so that it is
    // taken up here once.
    Some(unsafe { OwnedFd::from_raw_fd(taken.fd) })
}

/// A Unix stream socket that listens at a path; `None` for anything else.
fn look(fd: RawFd) -> Option<Passed> {
    // SAFETY: the borrow ends with this function. If the number is no open
    // descriptor the calls fail with EBADF and do nothing else.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let listens = sockopt::socket_domain(socket).ok()? == AddressFamily::UNIX
        && sockopt::socket_type(socket).ok()? == SocketType::STREAM
        && sockopt::socket_acceptconn(socket).ok()?;
    if !listens {
        return None;
    }
    let address = SocketAddrUnix::try_from(getsockname(socket).ok()?).ok()?;
    let path = PathBuf::from(OsStr::from_bytes(address.path_bytes()?));
    Some(Passed { fd, path, inode: fstat(socket).ok()?.st_ino })
}
