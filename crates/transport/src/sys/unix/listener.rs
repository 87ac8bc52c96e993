//! Sockets with a name: taking the name, accepting, connecting.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, lstat, open, unlink};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use tokio::io::Interest;

use super::register::{Watched, watch};
use super::{Connected, Place, ReadHalf, WriteHalf, directory, this_process};
use crate::error::{BindError, ConnectError};
use crate::limits::BACKLOG;
use crate::peer::Peer;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// A socket that listens, and the name that it has.
#[derive(Debug)]
pub(crate) struct NamedListener {
    socket: Watched,
    path: PathBuf,
    /// The socket's device and inode: what is ours to remove.
    inode: (u64, u64),
    /// Given up after the socket is gone.
    _lock: NameLock,
}

impl NamedListener {
    pub(crate) fn bind(place: &Place) -> Result<Self, BindError> {
        directory::prepare(place)?;
        let path = place.path();
        let io = |source: io::Error| BindError::Io { path: place.to_string(), source };
        // Whoever holds the lock is alone with the name until it lets go.
        let lock = NameLock::take(place)?;
        clear_stale(place)?;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None).map_err(|e| io(e.into()))?;
        // Before bind: there is no moment at which others could connect.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|e| io(e.into()))?;
        let address = SocketAddrUnix::new(path).map_err(|e| io(e.into()))?;
        bind(&socket, &address).map_err(|e| match e {
            Errno::ADDRINUSE => occupied(place),
            other => io(other.into()),
        })?;
        let inode = inode(path).map_err(|e| io(e.into()))?;
        listen(&socket, BACKLOG as i32).map_err(|e| io(e.into()))?;
        let socket = watch(Arc::new(socket), Interest::READABLE).map_err(io)?;
        Ok(NamedListener { socket, path: path.to_owned(), inode, _lock: lock })
    }

    pub(crate) async fn accept(&self) -> io::Result<(ReadHalf, WriteHalf, Peer)> {
        loop {
            let mut guard = self.socket.readable().await?;
            match accept_with(&self.socket, FLAGS) {
                Ok(socket) => {
                    let socket = Arc::new(socket);
                    let peer = peer_of(&socket)?;
                    let (read, write) = super::half::of_socket(socket)?;
                    return Ok((read, write, peer));
                }
                Err(Errno::AGAIN) => guard.clear_ready(),
                // The client has gone again, or a signal came: on to the next.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }
}

impl Drop for NamedListener {
    fn drop(&mut self) {
        // Only what is ours: if somebody has put something else there, it stays.
        if inode(&self.path).is_ok_and(|there| there == self.inode) {
            let _ = unlink(&self.path);
        }
    }
}

pub(super) fn inode(path: &Path) -> rustix::io::Result<(u64, u64)> {
    let stat = lstat(path)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Removes the socket of a server that has died; leaves anything else.
fn clear_stale(place: &Place) -> Result<(), BindError> {
    let stat = match lstat(place.path()) {
        Err(Errno::NOENT) => return Ok(()),
        Err(other) => return Err(BindError::Io { path: place.to_string(), source: other.into() }),
        Ok(stat) => stat,
    };
    let is_own_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket
        && stat.st_uid == rustix::process::geteuid().as_raw();
    if !is_own_socket {
        return Err(occupied(place));
    }
    // A server of another kind holds no lock of ours; it answers if it lives.
    match try_connect(place) {
        Err(Errno::CONNREFUSED) => unlink(place.path())
            .map_err(|source| BindError::Io { path: place.to_string(), source: source.into() }),
        _ => Err(BindError::InUse { path: place.to_string() }),
    }
}

pub(super) fn occupied(place: &Place) -> BindError {
    let what = match lstat(place.path()) {
        Ok(stat) => {
            let kind = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => "a file",
                FileType::Directory => "a directory",
                FileType::Symlink => "a symbolic link",
                FileType::Socket => "a socket",
                FileType::Fifo => "a FIFO",
                _ => "something",
            };
            format!("{kind} of user {}", stat.st_uid)
        }
        Err(_) => "something that came and went".to_owned(),
    };
    BindError::Occupied { path: place.to_string(), what }
}

/// The right to a name, held by locking a file beside the socket or FIFO. The system
/// lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct NameLock {
    path: PathBuf,
    _file: OwnedFd,
}

impl NameLock {
    pub(super) fn take(place: &Place) -> Result<Self, BindError> {
        let mut path = OsString::from(place.path());
        path.push(".lock");
        let path = PathBuf::from(path);
        let io = |source: Errno| BindError::Io { path: path.display().to_string(), source: source.into() };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        loop {
            let file = open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(io)?;
            let stat = fstat(&file).map_err(io)?;
            let own = rustix::process::geteuid().as_raw();
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_uid != own {
                let what = format!("something of user {}", stat.st_uid);
                return Err(BindError::Occupied { path: path.display().to_string(), what });
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(BindError::InUse { path: place.to_string() }),
                Err(other) => return Err(io(other)),
            }
            // The server before may have removed the file between our open and our lock.
            if inode(&path).is_ok_and(|there| there == (stat.st_dev, stat.st_ino)) {
                return Ok(NameLock { path, _file: file });
            }
        }
    }
}

impl Drop for NameLock {
    fn drop(&mut self) {
        // Still locked: who has it open finds it gone and tries again.
        let _ = unlink(&self.path);
    }
}

/// Who is at the other end of a socket.
fn peer_of(socket: &Arc<OwnedFd>) -> io::Result<Peer> {
    let credentials = rustix::net::sockopt::socket_peercred(socket)?;
    Ok(Peer {
        pid: u32::try_from(credentials.pid.as_raw_nonzero().get()).ok(),
        uid: Some(credentials.uid.as_raw()),
        gid: Some(credentials.gid.as_raw()),
        connected: Connected(Some(Arc::downgrade(socket))),
    })
}

fn try_connect(place: &Place) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(place.path())?)?;
    Ok(socket)
}

/// Tries once to connect; never waits.
pub(crate) fn connect(place: &Place) -> Result<(ReadHalf, WriteHalf, Peer), ConnectError> {
    let path = || place.to_string();
    let io = |source: io::Error| ConnectError::Io { path: path(), source };
    let socket = match try_connect(place) {
        Ok(socket) => Arc::new(socket),
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Err(ConnectError::NotFound { path: path() }),
        Err(Errno::AGAIN) => return Err(ConnectError::Busy { path: path() }),
        Err(Errno::ACCESS | Errno::PERM) => return Err(ConnectError::Denied { path: path() }),
        Err(other) => return Err(io(other.into())),
    };
    let peer = peer_of(&socket).map_err(io)?;
    if let (Some(ours), Some(theirs)) = (this_process().uid, peer.uid) {
        if ours != theirs {
            return Err(ConnectError::WrongOwner { path: path(), ours, theirs });
        }
    }
    let (read, write) = super::half::of_socket(socket).map_err(io)?;
    Ok((read, write, peer))
}
