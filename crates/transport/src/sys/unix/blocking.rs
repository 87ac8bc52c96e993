//! Descriptors at which threads wait by themselves, without an event loop.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{PipeFlags, pipe_with};

use super::bypass::Taken;
use super::half::{Kind, kind};
use super::interrupt::{Interrupt, Mark};
use super::listener::{Accepted, BoundName, accept_socket, bind_socket, retire};
use super::loss::BlockingLossWatch;
#[cfg(any(target_os = "linux", target_os = "android"))]
use super::refused::OptionalCall;
use super::{Place, RetiredListener, WriteHalf, rights};
use crate::access::Reach;
use crate::blocking::Ready;
use crate::error::BindError;
use crate::peer::Peer;

/// The direction that is read, by a thread that waits in the read itself.
#[derive(Debug)]
pub(crate) struct BlockingRead {
    fd: Arc<OwnedFd>,
    kind: Kind,
    /// Where a [bypass](crate::bypass) is expected: what has come of it.
    bypass: Option<Box<Taken>>,
    /// Of a pipe: whether its reader is to wait no more.
    mark: Arc<Mark>,
}

/// Both directions of a socket. Reading waits; writing says each time that it does not.
pub(super) fn of_socket(fd: Arc<OwnedFd>) -> io::Result<(BlockingRead, WriteHalf)> {
    set_blocking(&fd)?;
    let read = BlockingRead::of_kind(Arc::clone(&fd), Kind::Socket);
    Ok((read, WriteHalf::of_socket(fd)))
}

/// Puts a descriptor of either kind to work, for both directions.
pub(super) fn of_any(fd: OwnedFd) -> io::Result<(BlockingRead, WriteHalf)> {
    let other = fd.try_clone()?;
    Ok((BlockingRead::new(fd)?, WriteHalf::of_any(other)?))
}

impl BlockingRead {
    /// Puts a pipe's reading end, or a socket, to work. The two ends of a pipe do not
    /// share whether they wait: the other one is left as it is.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        set_blocking(&fd)?;
        let kind = kind(&fd)?;
        Ok(BlockingRead::of_kind(Arc::new(fd), kind))
    }

    fn of_kind(fd: Arc<OwnedFd>, kind: Kind) -> Self {
        BlockingRead { fd, kind, bypass: None, mark: Arc::default() }
    }

    /// Waits for bytes; none at the end of the stream.
    #[inline]
    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.mark.is_made() {
            return self.read_rest(bytes);
        }
        loop {
            let read = match &mut self.bypass {
                None => rustix::io::read(&self.fd, &mut *bytes),
                Some(bypass) => bypass.read(&self.fd, bytes, RecvFlags::empty()),
            };
            match read {
                Err(Errno::INTR) => {}
                // Somebody who shares the pipe has set it so.
                Err(Errno::AGAIN) => {
                    let _ = poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], None);
                }
                other => return Ok(self.without_mark(other?)),
            }
        }
    }

    /// Reads what is there, and never waits. `Unsupported`: this kernel cannot.
    #[inline]
    pub(crate) fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match (self.kind, &mut self.bypass) {
            (Kind::Pipe, _) if self.mark.is_made() => self.read_rest(bytes),
            (Kind::Pipe, _) => Ok(self.without_mark(try_read_pipe(&self.fd, bytes)?)),
            (Kind::Socket, None) => Ok(recv(&self.fd, bytes, RecvFlags::DONTWAIT)?.1),
            (Kind::Socket, Some(bypass)) => Ok(bypass.read(&self.fd, bytes, RecvFlags::DONTWAIT)?),
        }
    }

    /// Reads what is left in a pipe that is not to be waited at.
    #[cold]
    fn read_rest(&self, bytes: &mut [u8]) -> io::Result<usize> {
        // It is closed, or the mark is in it, or has been: in any case this does not wait.
        if ioctl_fionread(&self.fd)? == 0 {
            return Ok(0);
        }
        Ok(self.without_mark(rustix::io::read(&self.fd, bytes)?))
    }

    #[inline]
    fn without_mark(&self, read: usize) -> usize {
        if self.mark.is_made() { self.mark.stripped(&self.fd, read) } else { read }
    }

    /// What ends a wait in `read`, from any thread.
    pub(crate) fn interrupt(&self) -> Interrupt {
        Interrupt::new(&self.fd, self.kind, &self.mark)
    }

    /// From here on it takes the ends of a bypass.
    pub(crate) fn expects_bypass(&mut self) {
        if self.kind == Kind::Socket {
            rights::accept(&self.fd);
            self.bypass = self.bypass.take().or_else(Taken::none_yet);
        }
    }

    /// Takes up the bypass that has been passed on with what was read last.
    pub(crate) fn take_bypass(&mut self) -> io::Result<(BlockingRead, WriteHalf)> {
        rights::refuse(&self.fd);
        self.bypass.take().ok_or(io::ErrorKind::NotFound)?.take_up(BlockingRead::new)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn try_read_pipe(pipe: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};
    static READ_WITHOUT_WAITING: OptionalCall = OptionalCall::new(
        "preadv2 with RWF_NOWAIT",
        "threads that read a pipe sleep at once instead of looking for a moment",
    );
    // The offset of all ones is the stream's own position.
    let bytes = &mut [IoSliceMut::new(bytes)];
    match preadv2(pipe, bytes, u64::MAX, ReadWriteFlags::NOWAIT) {
        Ok(n) => Ok(n),
        Err(errno) if errno != Errno::AGAIN && READ_WITHOUT_WAITING.is_refused_by(errno) => {
            Err(io::ErrorKind::Unsupported.into())
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn try_read_pipe(_: &OwnedFd, _: &mut [u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The descriptor that has to have room for a write.
#[derive(Debug)]
pub(crate) struct Room(Arc<OwnedFd>);

impl WriteHalf {
    /// The writing direction of threads.
    pub(crate) fn of_threads(self) -> Self {
        self.trusting_sigpipe()
    }

    /// What to wait at until something can be written; nothing once it was shut down.
    pub(crate) fn room(&self) -> Option<Room> {
        self.descriptor().map(|fd| Room(Arc::clone(fd)))
    }
}

/// Ends the wait of a thread.
#[derive(Debug)]
pub(crate) struct Bell {
    heard: OwnedFd,
    rung: OwnedFd,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let (heard, rung) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Bell { heard, rung })
    }

    /// Safe in a signal handler: it is one system call. A bell that is full has been
    /// rung.
    pub(crate) fn ring(&self) {
        let _ = rustix::io::write(&self.rung, &[1]);
    }

    /// It has been heard.
    pub(crate) fn silence(&self) {
        while rustix::io::read(&self.heard, &mut [0; 64]).is_ok_and(|n| n == 64) {}
    }
}

/// Waits until one of these is ready; until one may be, where a signal comes.
pub(crate) fn wait(
    read: Option<&BlockingRead>,
    write: Option<&Room>,
    bell: Option<&Bell>,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    Ok(wait_at(read.map(|read| &*read.fd), write, bell, None, timeout)?.0)
}

fn wait_at(
    read: Option<&OwnedFd>,
    write: Option<&Room>,
    bell: Option<&Bell>,
    loss: Option<&BlockingLossWatch>,
    timeout: Option<Duration>,
) -> io::Result<(Ready, bool)> {
    // A time that the system cannot say is all the time there is.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let anything = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
    let mut watched = Vec::with_capacity(4);
    watched.extend(read.map(|fd| PollFd::new(fd, PollFlags::IN)));
    watched.extend(write.map(|room| PollFd::new(&*room.0, PollFlags::OUT)));
    watched.extend(bell.map(|bell| PollFd::new(&bell.heard, PollFlags::IN)));
    watched.extend(loss.map(|loss| PollFd::new(loss.descriptor(), PollFlags::IN)));
    match poll(&mut watched, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok((Ready::default(), false)),
        Err(other) => return Err(other.into()),
    }
    let mut events = watched.iter().map(PollFd::revents);
    let mut next = |is_watched: bool| match is_watched {
        true => events.next().unwrap_or(PollFlags::empty()),
        false => PollFlags::empty(),
    };
    let (reads, writes, rung) = (next(read.is_some()), next(write.is_some()), next(bell.is_some()));
    let lost = next(loss.is_some());
    if let Some(bell) = bell.filter(|_| !rung.is_empty()) {
        bell.silence();
    }
    let ready =
        Ready { readable: reads.intersects(anything), writable: !writes.is_empty(), rung: !rung.is_empty() };
    Ok((ready, !lost.is_empty()))
}

/// A socket that listens, and the name that it has.
#[derive(Debug)]
pub(crate) struct BoundListener {
    place: Place,
    reach: Reach,
    named: Mutex<Named>,
    /// Clients of a socket that has lost its name, who had connected before.
    early: Mutex<VecDeque<Accepted>>,
}

/// What changes when a name is bound again.
#[derive(Debug)]
struct Named {
    /// Given up before the socket is, as that of a `NamedListener`.
    name: Option<BoundName>,
    socket: Arc<OwnedFd>,
    loss: Option<Arc<BlockingLossWatch>>,
}

impl Named {
    fn new(name: Option<BoundName>, socket: OwnedFd) -> Self {
        let loss = name.as_ref().and_then(|name| BlockingLossWatch::new(&name.entry)).map(Arc::new);
        Named { name, socket: Arc::new(socket), loss }
    }
}

impl BoundListener {
    pub(crate) fn bind(place: &Place, reach: Reach) -> Result<Self, BindError> {
        let (name, socket) = bind_socket(place, reach)?;
        let named = Mutex::new(Named::new(name, socket));
        Ok(BoundListener { place: place.clone(), reach, named, early: Mutex::default() })
    }

    /// Waits for a client; none when the bell has rung, or a signal has come, before one
    /// came.
    pub(crate) fn accept(
        &self,
        bell: &Bell,
        timeout: Option<Duration>,
    ) -> io::Result<Option<(BlockingRead, WriteHalf, Peer)>> {
        let Some((socket, peer)) = self.accept_early_or_next(bell, timeout)? else { return Ok(None) };
        let (read, write) = of_socket(socket)?;
        Ok(Some((read, write, peer)))
    }

    fn accept_early_or_next(&self, bell: &Bell, timeout: Option<Duration>) -> io::Result<Option<Accepted>> {
        if let Some(early) = lock(&self.early).pop_front() {
            return Ok(Some(early));
        }
        let (socket, loss) = {
            let named = lock(&self.named);
            (Arc::clone(&named.socket), named.loss.clone())
        };
        let loss = loss.as_deref();
        let (ready, is_lost) = wait_at(Some(&socket), None, Some(bell), loss, timeout)?;
        if let Some(loss) = loss.filter(|_| is_lost) {
            loss.clear();
            self.bind_again_if_lost();
        }
        if ready.rung || !ready.readable {
            return Ok(None);
        }
        accept_socket(&socket)
    }

    /// Binds the name anew if its file has been removed.
    fn bind_again_if_lost(&self) {
        let mut named = lock(&self.named);
        let Some(lost) = named.name.take_if(|name| name.is_lost()) else { return };
        let renewed = lost.renew(&self.place, self.reach, |name, socket| Ok(Named::new(Some(name), socket)));
        match renewed {
            Some(renewed) => {
                let old = std::mem::replace(&mut *named, renewed);
                let mut early = lock(&self.early);
                while let Ok(Some(client)) = accept_socket(&old.socket) {
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
        retire(name, &socket, early)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set_blocking(fd: &impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    if flags.contains(OFlags::NONBLOCK) {
        fcntl_setfl(fd, flags - OFlags::NONBLOCK)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Instant;

    use super::*;
    use crate::access::Access;
    use crate::anonymous::blocking_pair;
    use crate::blocking::{Bell, BlockingListener, wait};

    #[test]
    fn what_is_written_is_read_and_the_end_is_seen() {
        let (one, other) = blocking_pair().unwrap();
        let ((mut reader, _keep), (_keep_too, mut writer)) = (one.into_split(), other.into_split());
        assert_eq!(writer.try_write(b"word").unwrap(), 4);
        let mut bytes = [0; 8];
        assert_eq!((reader.read(&mut bytes).unwrap(), &bytes[..4]), (4, b"word".as_slice()));
        writer.shut_down().unwrap();
        assert_eq!(reader.read(&mut bytes).unwrap(), 0);
        assert_eq!(writer.try_write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_interrupts_a_reader_does_not_keep_its_socket() {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let (read, write) = of_socket(Arc::new(one.into())).unwrap();
        let mut other = BlockingRead::new(other.into()).unwrap();
        let interrupt = read.interrupt();
        assert_eq!(other.try_read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop((read, write));
        assert_eq!(other.try_read(&mut [0; 8]).unwrap(), 0);
        interrupt.end_reading();
    }

    #[test]
    fn who_only_looks_never_waits() {
        let (pipe, writer) = rustix::pipe::pipe().unwrap();
        let (socket, other) = std::os::unix::net::UnixStream::pair().unwrap();
        for (read, write) in [(pipe, writer), (socket.into(), OwnedFd::from(other))] {
            let (mut reader, mut bytes) = (BlockingRead::new(read).unwrap(), [0; 8]);
            let looked = |reader: &mut BlockingRead, bytes: &mut [u8]| {
                reader.try_read(bytes).map_err(|error| error.kind())
            };
            let empty = looked(&mut reader, &mut bytes);
            if empty == Err(io::ErrorKind::Unsupported) {
                // A kernel that cannot has its threads sleep.
                continue;
            }
            assert_eq!(empty, Err(io::ErrorKind::WouldBlock));
            rustix::io::write(&write, b"word").unwrap();
            assert_eq!((looked(&mut reader, &mut bytes), &bytes[..4]), (Ok(4), b"word".as_slice()));
            drop(write);
            assert_eq!(looked(&mut reader, &mut bytes), Ok(0));
        }
    }

    #[test]
    fn a_full_pipe_makes_nobody_wait_but_who_asks_for_room() {
        let (one, other) = blocking_pair().unwrap();
        let ((mut reader, _keep), (_keep_too, mut writer)) = (one.into_split(), other.into_split());
        let mut held = 0;
        let full = loop {
            match writer.try_write(&[7; 64 << 10]) {
                Ok(n) => held += n,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let room = writer.room().unwrap();
        let at_once = Some(Duration::ZERO);
        assert!(!wait(None, Some(&room), None, at_once).unwrap().writable);
        let mut bytes = vec![0; 64 << 10];
        while held > 0 {
            held -= reader.read(&mut bytes).unwrap();
        }
        assert!(wait(None, Some(&room), None, None).unwrap().writable);
    }

    #[test]
    fn a_wait_ends_with_its_time_and_by_the_bell() {
        let (one, _other) = blocking_pair().unwrap();
        let (reader, _writer) = one.into_split();
        let start = Instant::now();
        let nothing = wait(Some(&reader), None, None, Some(Duration::from_millis(20))).unwrap();
        assert!(nothing == Ready::default() && start.elapsed() >= Duration::from_millis(20));
        let bell = Bell::new().unwrap();
        let heard = std::thread::scope(|scope| {
            scope.spawn(|| bell.ring());
            wait(Some(&reader), None, Some(&bell), None).unwrap()
        });
        assert!(heard.rung && !heard.readable);
        // It is heard once.
        assert!(!wait(None, None, Some(&bell), Some(Duration::ZERO)).unwrap().rung);
    }

    #[test]
    fn who_reads_a_socket_can_be_told_that_nothing_comes() {
        let name = format!("test.blocking.{}", std::process::id());
        let listener = BlockingListener::bind_for(&name, Access::same_user()).unwrap();
        let bell = Bell::new().unwrap();
        let client = crate::connect(&name).blocking().unwrap();
        let server = listener.accept_any(&bell, None).unwrap().unwrap();
        assert_eq!(server.peer().pid, Some(std::process::id()));
        let (mut reader, _writer) = server.into_split();
        let interrupt = reader.interrupt();
        let read = std::thread::scope(|scope| {
            scope.spawn(|| interrupt.end_reading());
            reader.read(&mut [0; 8]).unwrap()
        });
        assert_eq!(read, 0);
        bell.ring();
        assert!(listener.accept_any(&bell, None).unwrap().is_none());
        drop(client);
    }
}
