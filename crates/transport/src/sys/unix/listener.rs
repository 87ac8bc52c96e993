//! Sockets with a name: taking the name, accepting, connecting.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Gid, Mode, chmod, chown, fchmod, lstat, unlink};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, shutdown,
    socket_with,
};
use tokio::io::Interest;

use super::identity::peer_of;
use super::lock::NameLock;
use super::place::own_uid;
use super::register::{Watched, watch};
use super::{BlockingRead, Place, ReadHalf, WriteHalf, activation, directory};
use crate::access::Reach;
use crate::error::{BindError, ConnectError};
use crate::limits::BACKLOG;
use crate::peer::Peer;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// A socket that listens, and the name that it has.
#[derive(Debug)]
pub(crate) struct NamedListener {
    /// Given up before the socket is: as long as that is open nothing else can have
    /// its inode. `None` where a service manager has bound the socket and keeps it.
    name: Option<BoundName>,
    socket: Watched,
}

impl NamedListener {
    pub(crate) fn bind(place: &Place, reach: Reach) -> Result<Self, BindError> {
        let (name, socket) = bind_socket(place, reach)?;
        let path = || place.path(reach).display().to_string();
        let socket = watch(Arc::new(socket), Interest::READABLE)
            .map_err(|source| BindError::Io { path: path(), source })?;
        Ok(NamedListener { name, socket })
    }

    pub(crate) async fn accept(&self) -> io::Result<(ReadHalf, WriteHalf, Peer)> {
        loop {
            let mut guard = self.socket.readable().await?;
            let accepted = accept(self.socket.get_ref())?;
            // To try in vain costs more than to ask: it makes a socket first.
            if accepted.is_none() || !has_more(self.socket.get_ref()) {
                guard.clear_ready();
            }
            if let Some(accepted) = accepted {
                return Ok(accepted);
            }
        }
    }

    /// Frees the name. Who waits to be accepted can be still.
    pub(crate) fn retire(self) -> RetiredListener {
        let NamedListener { name, socket } = self;
        retire(name, socket.get_ref())
    }
}

/// Gives up a name and keeps those who wait to be accepted.
pub(super) fn retire(name: Option<BoundName>, socket: &Arc<OwnedFd>) -> RetiredListener {
    // What a manager keeps its next server accepts.
    let queue = name.is_some().then(|| Arc::clone(socket));
    drop(name);
    if let Some(queue) = &queue {
        // Who has looked the name up just before is turned away by the system, as
        // if nobody had listened any more: nobody joins the queue from here on.
        let _ = shutdown(queue, Shutdown::Read);
    }
    RetiredListener { queue }
}

/// A socket that has no name any more, and those that had connected to it before.
#[derive(Debug)]
pub(crate) struct RetiredListener {
    queue: Option<Arc<OwnedFd>>,
}

impl RetiredListener {
    /// The next of those that wait.
    pub(crate) fn accept(&mut self) -> io::Result<Option<(ReadHalf, WriteHalf, Peer)>> {
        let Some((socket, peer)) = self.accept_socket()? else { return Ok(None) };
        let (read, write) = super::half::of_socket(socket)?;
        Ok(Some((read, write, peer)))
    }

    /// The same for threads that wait by themselves.
    pub(crate) fn accept_blocking(&mut self) -> io::Result<Option<(BlockingRead, WriteHalf, Peer)>> {
        let Some((socket, peer)) = self.accept_socket()? else { return Ok(None) };
        let (read, write) = super::blocking::of_socket(socket)?;
        Ok(Some((read, write, peer)))
    }

    fn accept_socket(&mut self) -> io::Result<Option<(Arc<OwnedFd>, Peer)>> {
        let Some(queue) = &self.queue else { return Ok(None) };
        match accept_socket(queue) {
            // The end of a queue that nobody joins any more.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(None),
            other => other,
        }
    }
}

/// A socket that listens, and the name that it has: none where a service manager
/// keeps it.
pub(super) fn bind_socket(place: &Place, reach: Reach) -> Result<(Option<BoundName>, OwnedFd), BindError> {
    if let Place::Foreign { owner, .. } = *place {
        return Err(BindError::Foreign { path: place.to_string(), owner, ours: own_uid() });
    }
    let path = place.path(reach);
    let io = |source: io::Error| BindError::Io { path: path.display().to_string(), source };
    let (name, socket) = match activation::take(path) {
        // The name is the manager's, who gives it to one server after the other, or
        // to two at once while the one replaces the other: no lock is in their way.
        Some(socket) => (None, socket),
        None => {
            let (name, socket) = BoundName::bind(place, reach)?;
            (Some(name), socket)
        }
    };
    // Said again of a socket that was passed on: from here on its clients are told
    // that this process serves, and not the manager.
    listen(&socket, BACKLOG as i32).map_err(|e| io(e.into()))?;
    ioctl_fionbio(&socket, true).map_err(|e| io(e.into()))?;
    Ok((name, socket))
}

/// Whether somebody waits to be accepted, as far as that can be told.
fn has_more(listener: &OwnedFd) -> bool {
    poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&Timespec::default())) != Ok(0)
}

/// The next of those that wait; `None` if nobody does.
fn accept(listener: &OwnedFd) -> io::Result<Option<(ReadHalf, WriteHalf, Peer)>> {
    let Some((socket, peer)) = accept_socket(listener)? else { return Ok(None) };
    let (read, write) = super::half::of_socket(socket)?;
    Ok(Some((read, write, peer)))
}

/// The same before it is put to work.
pub(super) fn accept_socket(listener: &OwnedFd) -> io::Result<Option<(Arc<OwnedFd>, Peer)>> {
    loop {
        match accept_with(listener, FLAGS) {
            Ok(socket) => {
                let socket = Arc::new(socket);
                // Who cannot be told is nobody to serve, and no reason to fail.
                let Ok(peer) = peer_of(&socket) else { continue };
                return Ok(Some((socket, peer)));
            }
            Err(Errno::AGAIN) => return Ok(None),
            // The client has gone again, or a signal came: on to the next.
            Err(Errno::CONNABORTED | Errno::PROTO | Errno::INTR) => {}
            Err(other) => return Err(other.into()),
        }
    }
}

/// A name that this process has given to a socket of its own.
#[derive(Debug)]
pub(super) struct BoundName {
    path: PathBuf,
    /// The socket's device and inode: what is ours to remove.
    inode: (u64, u64),
    /// Given up after the name is gone.
    _locks: Vec<NameLock>,
}

impl BoundName {
    fn bind(place: &Place, reach: Reach) -> Result<(Self, OwnedFd), BindError> {
        directory::prepare(place, reach)?;
        let path = place.path(reach);
        let io = |source: Errno| BindError::Io { path: path.display().to_string(), source: source.into() };
        // Whoever holds the locks is alone with the name until it lets go.
        let locks = place.locks(reach).into_iter().map(|lock| NameLock::take(lock, path));
        let locks = locks.collect::<Result<Vec<_>, _>>()?;
        clear_stale(path)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None).map_err(io)?;
        // Before bind, and opened before listen: there is no moment at which others
        // could connect who may not.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(io)?;
        let address = SocketAddrUnix::new(path).map_err(io)?;
        bind(&socket, &address).map_err(|e| match e {
            Errno::ADDRINUSE => occupied(path),
            other => io(other),
        })?;
        let inode = inode(path).map_err(io)?;
        let name = BoundName { path: path.to_owned(), inode, _locks: locks };
        open_to(path, reach).map_err(io)?;
        Ok((name, socket))
    }
}

impl Drop for BoundName {
    fn drop(&mut self) {
        // Only what is ours: if somebody has put something else there, it stays.
        if inode(&self.path).is_ok_and(|there| there == self.inode) {
            let _ = unlink(&self.path);
        }
    }
}

/// Lets others than the owner connect. It is for those who accept to see who they are.
fn open_to(path: &Path, reach: Reach) -> rustix::io::Result<()> {
    let group = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP;
    match reach {
        Reach::Owner => Ok(()),
        Reach::Group(gid) if chown(path, None, Some(Gid::from_raw(gid))).is_ok() => chmod(path, group),
        // Who may not give a file to a group opens it to all.
        Reach::Group(_) | Reach::Everyone => chmod(path, group | Mode::ROTH | Mode::WOTH),
    }
}

/// What is at a path, by device and inode.
pub(super) fn inode(path: &Path) -> rustix::io::Result<(u64, u64)> {
    let stat = lstat(path)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Removes the socket of a server that has died; leaves anything else.
fn clear_stale(path: &Path) -> Result<(), BindError> {
    let io = |source: Errno| BindError::Io { path: path.display().to_string(), source: source.into() };
    let stat = match lstat(path) {
        Err(Errno::NOENT) => return Ok(()),
        Err(other) => return Err(io(other)),
        Ok(stat) => stat,
    };
    let is_own_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket && stat.st_uid == own_uid();
    if !is_own_socket {
        return Err(occupied(path));
    }
    // A server of another kind holds no lock of ours; it answers if it lives.
    let pid = match try_connect(path) {
        Err(Errno::CONNREFUSED) => return unlink(path).map_err(io),
        Ok(socket) => peer_of(&Arc::new(socket)).ok().and_then(|server| server.pid),
        Err(_) => None,
    };
    Err(BindError::InUse { path: path.display().to_string(), pid })
}

pub(super) fn occupied(path: &Path) -> BindError {
    let what = match lstat(path) {
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
    BindError::Occupied { path: path.display().to_string(), what }
}

fn try_connect(path: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Tries once to connect; never waits. With `expect_owner` the server has to be that
/// of the user whose name it is.
pub(crate) fn connect(
    place: &Place,
    expect_owner: bool,
) -> Result<(ReadHalf, WriteHalf, Peer), ConnectError> {
    let (socket, peer, path) = connect_socket(place, expect_owner)?;
    let (read, write) = super::half::of_socket(socket).map_err(|source| io_at(path, source))?;
    Ok((read, write, peer))
}

/// The same for threads that wait by themselves.
pub(crate) fn connect_blocking(
    place: &Place,
    expect_owner: bool,
) -> Result<(BlockingRead, WriteHalf, Peer), ConnectError> {
    let (socket, peer, path) = connect_socket(place, expect_owner)?;
    let (read, write) = super::blocking::of_socket(socket).map_err(|source| io_at(path, source))?;
    Ok((read, write, peer))
}

/// A socket that is connected to a place, who is at its other end, and its path.
fn connect_socket(place: &Place, expect_owner: bool) -> Result<(Arc<OwnedFd>, Peer, &Path), ConnectError> {
    for path in place.paths() {
        match connect_to(path, expect_owner.then(|| place.owner())) {
            Err(ConnectError::NotFound { .. }) => {}
            other => return other.map(|(socket, peer)| (socket, peer, path)),
        }
    }
    Err(ConnectError::NotFound { path: place.to_string() })
}

fn io_at(path: &Path, source: io::Error) -> ConnectError {
    ConnectError::Io { path: path.display().to_string(), source }
}

fn connect_to(path: &Path, owner: Option<u32>) -> Result<(Arc<OwnedFd>, Peer), ConnectError> {
    let at = || path.display().to_string();
    let socket = match try_connect(path) {
        Ok(socket) => Arc::new(socket),
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Err(ConnectError::NotFound { path: at() }),
        Err(Errno::AGAIN) => return Err(ConnectError::Busy { path: at() }),
        Err(Errno::ACCESS | Errno::PERM) => return Err(ConnectError::Denied { path: at() }),
        Err(other) => return Err(io_at(path, other.into())),
    };
    let peer = peer_of(&socket).map_err(|source| io_at(path, source))?;
    if let (Some(expected), Some(theirs)) = (owner, peer.uid) {
        if expected != theirs {
            return Err(ConnectError::WrongOwner { path: at(), expected, theirs });
        }
    }
    Ok((socket, peer))
}
