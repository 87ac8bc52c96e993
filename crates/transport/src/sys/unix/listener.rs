//! Sockets with a name: taking the name, accepting, connecting.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, fchmod};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, shutdown,
    socket_with,
};
use tokio::io::Interest;

use super::directory::{Entry, Prepared, foreign_owner, is_closed_to_owner, prepare, with_address};
use super::identity::peer_of;
use super::lock::NameLock;
use super::loss::LossWatch;
use super::place::own_uid;
use super::register::{Watched, watch};
use super::{BlockingRead, Place, ReadHalf, WriteHalf, activation, rights};
use crate::access::{AccessDenied, Reach};
use crate::error::{BindError, ConnectError};
use crate::limits::BACKLOG;
use crate::peer::Peer;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// A client that has connected, before its socket is put to work.
pub(super) type Accepted = (Arc<OwnedFd>, Peer);

/// A socket that listens, and its name.
#[derive(Debug)]
pub(crate) struct NamedListener {
    place: Place,
    reach: Reach,
    named: Mutex<Named>,
    /// Clients of a socket that has lost its name, who had connected before.
    early: Mutex<VecDeque<Accepted>>,
}

/// What changes when a name is bound again.
#[derive(Debug)]
struct Named {
    /// Given up before the socket is: as long as that is open no other file can have its inode.
    /// `None` where a service manager has bound the socket and keeps it.
    name: Option<BoundName>,
    socket: Listening,
    loss: Option<Arc<LossWatch>>,
}

/// A socket in the event loop of the process that made it.
#[derive(Debug)]
struct Listening {
    watched: Arc<Watched>,
    owner: u32,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // A forked child shares the event loop, from which this would remove the socket.
        if self.owner != std::process::id() {
            std::mem::forget(Arc::clone(&self.watched));
        }
    }
}

impl Named {
    /// Has the event loop of this runtime watch the socket and its name.
    fn watch(name: Option<BoundName>, socket: OwnedFd) -> Result<Self, (Option<BoundName>, io::Error)> {
        match watch(Arc::new(socket), Interest::READABLE) {
            Ok(socket) => {
                let loss = name.as_ref().and_then(|name| LossWatch::new(&name.entry)).map(Arc::new);
                let socket = Listening { watched: Arc::new(socket), owner: std::process::id() };
                Ok(Named { name, socket, loss })
            }
            Err(error) => Err((name, error)),
        }
    }
}

impl NamedListener {
    pub(crate) fn bind(place: &Place, reach: Reach) -> Result<Self, BindError> {
        let (name, socket) = bind_socket(place, reach)?;
        let named = Named::watch(name, socket)
            .map_err(|(_, source)| BindError::Io { path: place.path(reach).display().to_string(), source })?;
        let early = Mutex::default();
        Ok(NamedListener { place: place.clone(), reach, named: Mutex::new(named), early })
    }

    pub(crate) async fn accept(&self) -> io::Result<(ReadHalf, WriteHalf, Peer)> {
        let (socket, peer) = self.accept_early_or_next().await?;
        let (read, write) = super::half::of_socket(socket)?;
        Ok((read, write, peer))
    }

    async fn accept_early_or_next(&self) -> io::Result<Accepted> {
        loop {
            if let Some(early) = lock(&self.early).pop_front() {
                return Ok(early);
            }
            let (socket, loss) = {
                let named = lock(&self.named);
                (Arc::clone(&named.socket.watched), named.loss.clone())
            };
            let Some(loss) = loss else { return accept_next(&socket).await };
            let (mut accepted, mut lost) = (pin!(accept_next(&socket)), pin!(loss.event()));
            let accepted = poll_fn(|cx| match accepted.as_mut().poll(cx) {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending => lost.as_mut().poll(cx).map(|()| None),
            });
            match accepted.await {
                Some(accepted) => return accepted,
                None => self.bind_again_if_lost(),
            }
        }
    }

    /// Binds the name anew if its file has been removed.
    fn bind_again_if_lost(&self) {
        let mut named = lock(&self.named);
        let Some(lost) = named.name.take_if(|name| name.is_lost()) else { return };
        let renewed = lost.renew(&self.place, self.reach, |name, socket| {
            Named::watch(Some(name), socket).map_err(|(_, error)| error)
        });
        match renewed {
            Some(renewed) => {
                let old = std::mem::replace(&mut *named, renewed);
                let mut early = lock(&self.early);
                while let Ok(Some(client)) = accept_socket(old.socket.watched.get_ref()) {
                    early.push_back(client);
                }
            }
            None => named.loss = None,
        }
    }

    /// Frees the name. Who waits to be accepted can be still.
    pub(crate) fn retire(self) -> RetiredListener {
        let Named { name, socket, loss: _ } = self.named.into_inner().unwrap_or_else(PoisonError::into_inner);
        let early = self.early.into_inner().unwrap_or_else(PoisonError::into_inner);
        retire(name, socket.watched.get_ref(), early)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept_next(socket: &Watched) -> io::Result<Accepted> {
    loop {
        let mut guard = socket.readable().await?;
        let accepted = accept_socket(socket.get_ref())?;
        // To try in vain costs more than to ask: it makes a socket first.
        if accepted.is_none() || !has_more(socket.get_ref()) {
            guard.clear_ready();
        }
        if let Some(accepted) = accepted {
            return Ok(accepted);
        }
    }
}

/// Gives up a name and keeps those who wait to be accepted.
pub(super) fn retire(
    name: Option<BoundName>,
    socket: &Arc<OwnedFd>,
    early: VecDeque<Accepted>,
) -> RetiredListener {
    // What a manager keeps its next server accepts.
    let queue = name.is_some().then(|| Arc::clone(socket));
    drop(name);
    if let Some(queue) = &queue {
        // Who has looked the name up just before is turned away by the system, as
        // if nobody had listened any more: nobody joins the queue from here on.
        let _ = shutdown(queue, Shutdown::Read);
    }
    RetiredListener { early, queue }
}

/// A socket that has no name any more, and those that had connected to it before.
#[derive(Debug)]
pub(crate) struct RetiredListener {
    early: VecDeque<Accepted>,
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

    fn accept_socket(&mut self) -> io::Result<Option<Accepted>> {
        if let Some(early) = self.early.pop_front() {
            return Ok(Some(early));
        }
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
    listen_at(&socket).map_err(io)?;
    Ok((name, socket))
}

fn listen_at(socket: &OwnedFd) -> io::Result<()> {
    // Before anybody connects: the sockets of clients inherit it when they do.
    rights::refuse(socket);
    listen(socket, BACKLOG as i32)?;
    Ok(ioctl_fionbio(socket, true)?)
}

/// Whether somebody waits to be accepted, as far as that can be told.
fn has_more(listener: &OwnedFd) -> bool {
    poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&Timespec::default())) != Ok(0)
}

/// The next client that waits, before its socket is put to work; `None` if there is none.
pub(super) fn accept_socket(listener: &OwnedFd) -> io::Result<Option<Accepted>> {
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
    pub(super) entry: Entry,
    /// The socket's device and inode: what is ours to remove.
    inode: (u64, u64),
    /// The process that bound it. A copy in a forked child owns nothing.
    owner: u32,
    /// Given up after the name is gone.
    locks: Vec<NameLock>,
}

impl BoundName {
    fn bind(place: &Place, reach: Reach) -> Result<(Self, OwnedFd), BindError> {
        BoundName::bind_with(prepare(place, reach)?, reach, Vec::new())
    }

    /// Takes the name again, after its file was removed, and puts the socket to work by `watch`.
    /// `None`, and a line in the log, where the name cannot be had.
    pub(super) fn renew<T>(
        mut self,
        place: &Place,
        reach: Reach,
        watch: impl FnOnce(BoundName, OwnedFd) -> io::Result<T>,
    ) -> Option<T> {
        let path = self.entry.display();
        let io = |source: io::Error| BindError::Io { path: path.clone(), source };
        let locks = std::mem::take(&mut self.locks);
        let renewed = prepare(place, reach).and_then(|prepared| {
            let (name, socket) = BoundName::bind_with(prepared, reach, locks)?;
            listen_at(&socket).map_err(io)?;
            watch(name, socket).map_err(io)
        });
        match renewed {
            Ok(renewed) => {
                tracing::warn!(%path, "the socket of this name was removed while its server ran; bound again");
                Some(renewed)
            }
            Err(error) => {
                tracing::error!(
                    %path,
                    "the socket of this name was removed while its server ran, and cannot be bound again: {error}; connected clients stay, and no others find this server"
                );
                None
            }
        }
    }

    /// Takes a name with what locks of it this process has already.
    fn bind_with(
        prepared: Prepared,
        reach: Reach,
        held: Vec<NameLock>,
    ) -> Result<(Self, OwnedFd), BindError> {
        let Prepared { entry, locks } = prepared;
        let io = |source: Errno| BindError::Io { path: entry.display(), source: source.into() };
        // The holder of the locks is alone with the name until it releases them.
        let locks = take_locks(locks, held, &entry)?;
        clear_stale(&entry)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None).map_err(io)?;
        // The file gets the socket's mode, and nobody can connect before `listen`: there is no
        // moment at which others could who may not.
        let mode = mode_for(reach);
        fchmod(&socket, mode).map_err(io)?;
        let address = entry.address().map_err(|source| BindError::Io { path: entry.display(), source })?;
        bind(&socket, &address).map_err(|e| match e {
            Errno::ADDRINUSE => occupied(&entry),
            other => io(other),
        })?;
        let inode = open_to(&entry, reach, mode)?;
        let owner = std::process::id();
        Ok((BoundName { entry, inode, owner, locks }, socket))
    }

    /// Whether the file is not where clients look for it.
    pub(super) fn is_lost(&self) -> bool {
        self.entry.inode_by_path().ok() != Some(self.inode)
    }
}

impl Drop for BoundName {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            self.entry.unlink_if(self.inode);
        }
    }
}

/// Takes the locks of a name, but for those that are held already and in their place.
pub(super) fn take_locks(
    wanted: Vec<Entry>,
    mut held: Vec<NameLock>,
    socket: &Entry,
) -> Result<Vec<NameLock>, BindError> {
    held.retain(NameLock::is_in_place);
    let take = |lock: Entry| match held.iter().position(|held| held.entry().path() == lock.path()) {
        Some(index) => Ok(held.swap_remove(index)),
        None => NameLock::take(lock, socket),
    };
    wanted.into_iter().map(take).collect()
}

/// The mode of a socket: the kernel lets those connect who may write.
fn mode_for(reach: Reach) -> Mode {
    let own = Mode::RUSR | Mode::WUSR;
    match reach {
        Reach::Owner => own,
        Reach::Group(_) => own | Mode::RGRP | Mode::WGRP,
        Reach::Everyone => own | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH,
    }
}

/// Lets those connect for whom the socket is, whatever the umask is. The listener checks each.
/// Changes the file that is pinned and no other, whatever is at the name by then. Gives its
/// device and inode.
fn open_to(entry: &Entry, reach: Reach, mode: Mode) -> Result<(u64, u64), BindError> {
    let io = |source: Errno| BindError::Io { path: entry.display(), source: source.into() };
    let (file, stat) = entry.pin().map_err(io)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(occupied(entry));
    }
    let mode = match reach {
        // A process that may not give a file to a group opens it to all.
        Reach::Group(gid) if file.set_group(gid).is_err() => mode_for(Reach::Everyone),
        _ => mode,
    };
    if stat.st_mode & 0o777 != mode.bits() {
        file.set_mode(mode).map_err(io)?;
    }
    Ok((stat.st_dev, stat.st_ino))
}

/// Removes the socket of a server that has died; leaves anything else.
fn clear_stale(entry: &Entry) -> Result<(), BindError> {
    let io = |source: io::Error| BindError::Io { path: entry.display(), source };
    let stat = match entry.stat() {
        Err(Errno::NOENT) => return Ok(()),
        Err(other) => return Err(io(other.into())),
        Ok(stat) => stat,
    };
    let is_own_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket && stat.st_uid == own_uid();
    if !is_own_socket {
        return Err(occupied(entry));
    }
    // A server of another kind holds no lock of ours; it answers if it lives.
    if stat.st_mode & 0o200 == 0 {
        // Made under a umask that kept its own user off.
        entry.pin().and_then(|(file, _)| file.set_mode(mode_for(Reach::Owner))).map_err(|e| io(e.into()))?;
    }
    let pid = match try_connect(&entry.address().map_err(io)?) {
        Err(Errno::CONNREFUSED) => return entry.unlink().map_err(|e| io(e.into())),
        Ok(socket) => peer_of(&Arc::new(socket)).ok().and_then(|server| server.pid),
        Err(_) => None,
    };
    Err(BindError::InUse { path: entry.display(), pid })
}

pub(super) fn occupied(entry: &Entry) -> BindError {
    let what = match entry.stat() {
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
    BindError::Occupied { path: entry.display(), what }
}

fn try_connect(address: &SocketAddrUnix) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    rights::refuse(&socket);
    rustix::net::connect(&socket, address)?;
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

/// A socket that is connected to a place, the process at its other end, and its path.
fn connect_socket(place: &Place, expect_owner: bool) -> Result<(Arc<OwnedFd>, Peer, &Path), ConnectError> {
    let mut closed = None;
    for path in place.paths() {
        match connect_to(place, path, expect_owner.then(|| place.owner())) {
            Err(ConnectError::NotFound { hint: "", .. }) => {}
            // A directory that this user cannot enter holds no server that it could reach.
            Err(error @ (ConnectError::Denied { .. } | ConnectError::NotFound { .. })) => {
                closed = closed.or(Some(error));
            }
            other => return other.map(|(socket, peer)| (socket, peer, path)),
        }
    }
    Err(closed.unwrap_or_else(|| not_found(place)))
}

pub(super) fn not_found(place: &Place) -> ConnectError {
    ConnectError::NotFound { path: place.to_string(), hint: place.hint() }
}

/// Why a client may not enter a directory, or not connect to what is in it.
pub(super) fn denied(place: &Place, path: &Path) -> ConnectError {
    // A server that starts under a umask makes both so, and opens them at once.
    if is_closed_to_owner(path, matches!(place, Place::Own { .. })) {
        let hint =
            "; its mode, or its directory's, keeps its own user off, as a umask has it until a server starts";
        return ConnectError::NotFound { path: path.display().to_string(), hint };
    }
    let owner = if place.is_private(path) { foreign_owner(path) } else { None };
    let why = match owner {
        Some(owner) => format!(
            "its directory belongs to user {owner}, not to this user, {}: remove the directory, or set XDG_RUNTIME_DIR to one of your own",
            own_uid()
        ),
        None => "its server has not opened it to others, or not to this one".to_owned(),
    };
    ConnectError::Denied { path: path.display().to_string(), why }
}

fn io_at(path: &Path, source: io::Error) -> ConnectError {
    ConnectError::Io { path: path.display().to_string(), source }
}

fn connect_to(place: &Place, path: &Path, owner: Option<u32>) -> Result<Accepted, ConnectError> {
    let at = || path.display().to_string();
    let socket = match with_address(path, |address| Ok(try_connect(address)?)) {
        Ok(socket) => Arc::new(socket),
        Err(error) => {
            return Err(match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::CONNREFUSED) => ConnectError::NotFound { path: at(), hint: "" },
                Some(Errno::AGAIN) => ConnectError::Busy { path: at() },
                Some(Errno::ACCESS | Errno::PERM) => denied(place, path),
                _ => io_at(path, error),
            });
        }
    };
    let peer = peer_of(&socket).map_err(|source| io_at(path, source))?;
    match (owner, peer.uid) {
        (Some(expected), Some(theirs)) if expected != theirs => {
            Err(ConnectError::WrongOwner { path: at(), expected, theirs })
        }
        // The kernel shows every user without a number in this namespace as one.
        (Some(expected), None) => {
            let denied = AccessDenied::unmapped(peer, expected);
            Err(ConnectError::Untrusted { path: at(), denied })
        }
        _ => Ok((socket, peer)),
    }
}
