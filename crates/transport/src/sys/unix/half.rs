//! The two directions of a socket or of two pipes, at work in the event loop.
//!
//! Each descriptor is registered for reading alone, a socket's in a runtime of one thread
//! as soon as a read has to wait. Writing is tried straight away; only while a write has to wait is a second
//! descriptor of the same pipe registered for writing. One that is registered for both
//! would wake its owner each time the peer reads.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};
use tokio::io::{Interest, ReadBuf};

use super::bypass::{self, Taken};
use super::gate::Gate;
use super::held::{Held, Roomy};
use super::register::{Watch, Watched, watch};
use super::{rights, sigpipe};
use crate::stream::Hold;

/// How a socket is written: at once or not at all, and without a signal.
pub(super) const NOT_WAITING: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
/// How many slices every system takes at once.
const SLICES: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Socket,
    Pipe,
}

/// The direction that is read.
#[derive(Debug)]
pub(crate) struct ReadHalf {
    fd: Arc<OwnedFd>,
    kind: Kind,
    /// Over the descriptor, or the gate in its place.
    watch: Watch,
    gate: Option<Gate>,
    /// Where a [bypass](crate::bypass) is expected: what has come of it.
    bypass: Option<Box<Taken>>,
}

/// The direction that is written.
#[derive(Debug)]
pub(crate) struct WriteHalf {
    /// `None` once a pipe has been shut down.
    fd: Option<Arc<OwnedFd>>,
    kind: Kind,
    /// Registered while a write waits.
    waiting: Option<Watched>,
    held: Held,
    roomy: Option<Roomy>,
    /// Whether SIGPIPE is nobody's concern in this process.
    has_no_sigpipe: bool,
}

/// Both directions of a socket.
pub(super) fn of_socket(fd: Arc<OwnedFd>) -> io::Result<(ReadHalf, WriteHalf)> {
    let watch = Watch::new(&fd)?;
    let read = ReadHalf { fd: Arc::clone(&fd), kind: Kind::Socket, watch, gate: None, bypass: None };
    Ok((read, WriteHalf::of_socket(fd)))
}

impl ReadHalf {
    /// Whether it can be read without a word from the event loop.
    pub(crate) const LOOKS: bool = true;

    /// Puts the reading end of a pipe to work.
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&pipe)?;
        ReadHalf::of_kind(Arc::new(pipe), Kind::Pipe)
    }

    /// Puts a pipe or a socket to work that others may have too.
    pub(super) fn of_any(fd: OwnedFd) -> io::Result<Self> {
        match kind(&fd)? {
            Kind::Pipe => ReadHalf::new(fd),
            kind => ReadHalf::of_kind(Arc::new(fd), kind),
        }
    }

    fn of_kind(fd: Arc<OwnedFd>, kind: Kind) -> io::Result<Self> {
        let watch = Watch::begin(&fd)?;
        Ok(ReadHalf { fd, kind, watch, gate: None, bypass: None })
    }

    #[cfg(test)]
    pub(super) fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Whether the event loop tells of what comes. It does from the first poll on that finds
    /// nothing.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.watch.has_begun()
    }

    /// Sees to it that it can [turn deaf](Self::turns_deaf), if that can be had. It has to
    /// be polled then, in the runtime that this is called in.
    #[cold]
    pub(crate) fn builds_gate(&mut self) -> io::Result<()> {
        let gate = Gate::new(&self.fd)?;
        self.watch = Watch::begin(gate.descriptor())?;
        self.gate = Some(gate);
        Ok(())
    }

    /// Whether it can turn deaf.
    pub(crate) fn has_gate(&self) -> bool {
        self.gate.is_some()
    }

    /// Has the event loop not be told that there is something to read, until it
    /// [`listens`](Self::listens) again.
    #[inline]
    pub(crate) fn turns_deaf(&mut self) {
        if let Some(gate) = &mut self.gate {
            // If it fails the event loop is told, which costs time alone.
            let _ = gate.close(&self.fd);
        }
    }

    /// Has the event loop be told again of what comes, and reads what it need not be told of.
    #[inline]
    pub(crate) fn listens(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let gate = self.gate.as_mut().ok_or(io::ErrorKind::WouldBlock)?;
        if !gate.open(&self.fd)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = self.try_read(bytes);
        if let (Err(error), Some(gate)) = (&read, &mut self.gate) {
            if error.kind() == io::ErrorKind::WouldBlock {
                gate.is_empty();
            }
        }
        read
    }

    /// From here on it also takes what is passed on with the bytes of a socket.
    pub(crate) fn expects_bypass(&mut self) {
        if self.kind == Kind::Socket {
            rights::accept(&self.fd);
            self.bypass = self.bypass.take().or_else(Taken::none_yet);
        }
    }

    /// Takes up the bypass that has been passed on, and expects no other.
    pub(crate) fn take_bypass(&mut self) -> io::Result<(ReadHalf, WriteHalf)> {
        rights::refuse(&self.fd);
        self.bypass.take().ok_or(io::ErrorKind::NotFound)?.take_up(ReadHalf::new)
    }

    /// Reads what is there, and never waits.
    pub(crate) fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match read(&self.fd, self.kind, &mut self.bypass, bytes) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A short read empties a pipe or a socket, and the event loop reports what comes later.
        // Two exceptions. A read that receives descriptors ends at their message, with more bytes
        // behind it. And behind a gate the event loop sees an epoll instance, which cannot report
        // the end of the stream: if bytes and end arrive together there is one event for both, and
        // clearing it after the bytes would lose the end.
        let is_drained_by_short_read = self.bypass.is_none() && self.gate.is_none();
        loop {
            let mut ready = ready!(self.watch.over(&self.fd)?.poll_read_ready(cx))?;
            let space = buf.initialize_unfilled();
            let wanted = space.len();
            match read(&self.fd, self.kind, &mut self.bypass, space) {
                Ok(n) => {
                    if n > 0 && n < wanted && is_drained_by_short_read {
                        ready.clear_ready();
                    }
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(other) => return Poll::Ready(Err(other.into())),
            }
        }
    }
}

#[inline]
fn read(
    fd: &OwnedFd,
    kind: Kind,
    bypass: &mut Option<Box<Taken>>,
    bytes: &mut [u8],
) -> rustix::io::Result<usize> {
    match (kind, bypass) {
        (Kind::Pipe, _) => rustix::io::read(fd, bytes),
        (Kind::Socket, None) => recv(fd, bytes, RecvFlags::DONTWAIT).map(|(n, _)| n),
        (Kind::Socket, Some(bypass)) => bypass.read(fd, bytes, RecvFlags::DONTWAIT),
    }
}

impl WriteHalf {
    /// Whether more than one slice is written at once.
    pub(crate) const VECTORED: bool = true;

    /// Puts the writing end of a pipe to work.
    pub(crate) fn new(pipe: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&pipe)?;
        Ok(WriteHalf {
            fd: Some(Arc::new(pipe)),
            kind: Kind::Pipe,
            waiting: None,
            held: Held::Usual,
            roomy: None,
            has_no_sigpipe: false,
        })
    }

    /// Puts a pipe or a socket to work that others may have too.
    pub(super) fn of_any(fd: OwnedFd) -> io::Result<Self> {
        match kind(&fd)? {
            Kind::Pipe => WriteHalf::new(fd),
            kind => Ok(WriteHalf {
                fd: Some(Arc::new(fd)),
                kind,
                waiting: None,
                held: Held::Usual,
                roomy: None,
                has_no_sigpipe: false,
            }),
        }
    }

    /// The writing direction of a socket; needs no event loop before a write waits.
    pub(super) fn of_socket(fd: Arc<OwnedFd>) -> Self {
        WriteHalf {
            fd: Some(fd),
            kind: Kind::Socket,
            waiting: None,
            held: Held::Usual,
            roomy: None,
            has_no_sigpipe: false,
        }
    }

    /// The descriptor, until the direction has been shut down.
    pub(super) fn descriptor(&self) -> Option<&Arc<OwnedFd>> {
        self.fd.as_ref()
    }

    /// Writes to a pipe by the plain system call, which is the quickest, if this process
    /// ignores SIGPIPE now: as Rust's own runtime has it, unless a program says otherwise.
    pub(super) fn trusting_sigpipe(mut self) -> Self {
        self.has_no_sigpipe = sigpipe::is_ignored();
        self
    }

    #[inline]
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.has_no_sigpipe && self.kind == Kind::Pipe {
            return self.try_with(|fd, _| Ok(rustix::io::write(fd, bytes)?));
        }
        self.try_with(|fd, kind| match kind {
            Kind::Socket => Ok(send(fd, bytes, NOT_WAITING)?),
            Kind::Pipe => sigpipe::write(fd, &[IoSlice::new(bytes)]),
        })
    }

    pub(crate) fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let slices = &slices[..slices.len().min(SLICES)];
        self.try_with(|fd, kind| match kind {
            Kind::Socket => Ok(sendmsg(fd, slices, &mut SendAncillaryBuffer::default(), NOT_WAITING)?),
            Kind::Pipe => sigpipe::write(fd, slices),
        })
    }

    fn try_with(&mut self, write: impl Fn(BorrowedFd<'_>, Kind) -> io::Result<usize>) -> io::Result<usize> {
        let fd = self.fd.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        loop {
            match write(fd.as_fd(), self.kind) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_with(cx, bytes.len(), |half| half.try_write(bytes))
    }

    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = slices.iter().map(|slice| slice.len()).sum();
        self.poll_with(cx, all, |half| half.try_write_vectored(slices))
    }

    /// Writes `all` bytes or the first of them, as soon as any fit.
    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        all: usize,
        mut write: impl FnMut(&mut Self) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        // Out of its place, to be asked while this is written to.
        let mut waiting = self.waiting.take();
        let polled = loop {
            // What it has told before says little: it is tried in any case. What it tells from
            // here on is news, which is not to be lost.
            let told = waiting.as_ref().map(|waiting| waiting.poll_write_ready(cx));
            match write(self) {
                Ok(n) => {
                    // Where little is held the next one waits as well.
                    if n == all && !self.held.is_little() {
                        waiting = None;
                    }
                    break Poll::Ready(Ok(n));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => break Poll::Ready(Err(error)),
            }
            match told {
                Some(Poll::Ready(ready)) => ready?.clear_ready(),
                Some(Poll::Pending) => break Poll::Pending,
                None => {
                    let fd = self.fd.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
                    waiting = Some(watch(Arc::new(fd.try_clone()?), Interest::WRITABLE)?);
                }
            }
            if waiting.as_ref().is_some_and(|waiting| waiting.poll_write_ready(cx).is_pending()) {
                break Poll::Pending;
            }
        };
        self.waiting = waiting;
        polled
    }

    /// Whether a [bypass](crate::bypass) can be passed on, or taken up, beside it.
    pub(crate) fn can_have_bypass(&self) -> bool {
        bypass::EXIST && self.kind == Kind::Socket
    }

    /// Makes a bypass, and passes the other side's ends on with `words`: all or none of these.
    pub(crate) fn pass_bypass<R>(
        &mut self,
        words: &[u8],
        make_read: impl FnOnce(OwnedFd) -> io::Result<R>,
    ) -> io::Result<(R, WriteHalf)> {
        bypass::pass(self.fd.as_ref().ok_or(io::ErrorKind::BrokenPipe)?, words, make_read)
    }

    /// Has another way of the same connection write as this one does.
    pub(crate) fn works_like(&mut self, other: &WriteHalf) {
        self.has_no_sigpipe = other.has_no_sigpipe;
    }

    /// Tells the system how much of what is written it is to hold.
    #[inline]
    pub(crate) fn hold(&mut self, hold: Hold) {
        if let (false, Some(fd)) = (self.held.is(hold), &self.fd) {
            self.held = self.held.told(fd.as_fd(), self.kind, hold, &mut self.roomy);
        }
    }

    /// What was written the system has.
    pub(crate) fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The other side reads the end of the stream from here on.
    pub(crate) fn shut_down(&mut self) -> io::Result<()> {
        self.waiting = None;
        match (self.kind, &self.fd) {
            (Kind::Socket, Some(fd)) => match shutdown(fd, Shutdown::Write) {
                // The other side was quicker.
                Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
                Err(other) => Err(other.into()),
            },
            _ => {
                self.fd = None;
                Ok(())
            }
        }
    }
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    Ok(fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

/// Puts a descriptor of either kind to work, for both directions.
pub(super) fn of_any(fd: OwnedFd) -> io::Result<(ReadHalf, WriteHalf)> {
    let other = fd.try_clone()?;
    Ok((ReadHalf::of_any(fd)?, WriteHalf::of_any(other)?))
}

pub(super) fn kind(fd: &OwnedFd) -> io::Result<Kind> {
    match FileType::from_raw_mode(fstat(fd)?.st_mode) {
        FileType::Socket => Ok(Kind::Socket),
        _ => Ok(Kind::Pipe),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pipe() -> (ReadHalf, WriteHalf) {
        let (read, write) = crate::sys::pipe().unwrap();
        (ReadHalf::new(read).unwrap(), WriteHalf::new(write).unwrap())
    }

    fn socket() -> (ReadHalf, WriteHalf) {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        (of_any(one).unwrap().0, of_any(other).unwrap().1)
    }

    async fn read(half: &mut ReadHalf, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let mut buf = ReadBuf::new(&mut bytes);
        poll_fn(|cx| half.poll_read(cx, &mut buf)).await.unwrap();
        buf.filled().to_vec()
    }

    #[tokio::test]
    async fn slices_go_out_as_one() {
        let slices = [b"".as_slice(), b"head", b"", b"body"].map(IoSlice::new);
        for (mut reader, mut writer) in [pipe(), socket()] {
            assert_eq!(writer.try_write_vectored(&slices).unwrap(), 8);
            assert_eq!(read(&mut reader, 64).await, b"headbody");
            assert_eq!(writer.try_write_vectored(&[]).unwrap(), 0);
            // More than the system takes at once are not refused.
            let many = vec![IoSlice::new(b"x"); 2 * SLICES];
            assert_eq!(writer.try_write_vectored(&many).unwrap(), SLICES);
        }
    }

    #[tokio::test]
    async fn slices_to_nobody_are_an_error_and_no_signal() {
        for (reader, mut writer) in [pipe(), socket()] {
            drop(reader);
            let written = writer.try_write_vectored(&[IoSlice::new(b"x")]);
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }

    /// A writer that has nothing more to write is not woken by who reads.
    #[tokio::test]
    async fn a_writer_of_slices_is_registered_only_while_it_waits() {
        for (mut reader, mut writer) in [pipe(), socket()] {
            let half = vec![1; 4 << 20];
            let slices = [IoSlice::new(&half), IoSlice::new(&half)];
            let mut written = poll_fn(|cx| writer.poll_write_vectored(cx, &slices)).await.unwrap();
            assert!(written < 2 * half.len());
            let waits = poll_fn(|cx| Poll::Ready(writer.poll_write_vectored(cx, &slices).is_pending())).await;
            assert!(waits && writer.waiting.is_some());
            while written > 0 {
                written -= read(&mut reader, 1 << 20).await.len();
            }
            let few = [IoSlice::new(b"few"), IoSlice::new(b"more")];
            assert_eq!(poll_fn(|cx| writer.poll_write_vectored(cx, &few)).await.unwrap(), 7);
            assert!(writer.waiting.is_none());
        }
    }

    /// Polls until the half is ready, in a runtime that runs its event loop meanwhile.
    async fn read_within(half: &mut ReadHalf, time: Duration) -> Option<Vec<u8>> {
        tokio::time::timeout(time, read(half, 64)).await.ok()
    }

    /// An epoll instance reports no end of the stream, only that something can be read. So a
    /// short read behind the readiness mask must not clear the readiness.
    #[tokio::test]
    async fn end_that_arrives_with_the_last_bytes_is_read() {
        for masked in [false, true] {
            for (mut reader, mut writer) in [pipe(), socket()] {
                if masked {
                    let _ = reader.builds_gate();
                }
                writer.try_write(b"last words").unwrap();
                drop(writer);
                let patience = Duration::from_secs(30);
                assert_eq!(read_within(&mut reader, patience).await.as_deref(), Some(&b"last words"[..]));
                let end = read_within(&mut reader, patience).await;
                assert_eq!(end.as_deref(), Some(&b""[..]), "masked: {masked}");
            }
        }
    }

    /// Who looks himself is not told by the event loop as well; and what comes then, or has
    /// come while it was not to tell, is not lost.
    #[tokio::test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    async fn the_event_loop_is_not_told_while_it_is_not_to_be() {
        use std::sync::atomic::{AtomicU32, Ordering};
        use std::task::Wake;

        struct Woken(AtomicU32);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }

        async fn turns() {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }

        for (mut reader, mut writer) in [pipe(), socket()] {
            reader.builds_gate().unwrap();
            let woken = Arc::new(Woken(AtomicU32::new(0)));
            let waker = Arc::clone(&woken).into();
            let mut cx = Context::from_waker(&waker);
            let mut bytes = [0; 4];
            let mut wait = |reader: &mut ReadHalf| {
                let mut bytes = [0; 4];
                assert!(reader.poll_read(&mut cx, &mut ReadBuf::new(&mut bytes)).is_pending());
            };
            for round in 1..4 {
                wait(&mut reader);
                reader.turns_deaf();
                writer.try_write(b"unheard of").unwrap();
                turns().await;
                assert_eq!(woken.0.load(Ordering::SeqCst), round - 1);
                assert_eq!(reader.try_read(&mut bytes).unwrap(), 4);
                // Some is left: the system need not say so again.
                assert_eq!(reader.listens(&mut bytes).unwrap(), 4);
                assert_eq!(reader.listens(&mut bytes).unwrap(), 2);
                assert_eq!(reader.listens(&mut bytes).unwrap_err().kind(), io::ErrorKind::WouldBlock);
                // The system has said that something is there; so a poll may look in vain.
                turns().await;
                woken.0.store(round - 1, Ordering::SeqCst);
                wait(&mut reader);
                writer.try_write(b"news").unwrap();
                turns().await;
                assert_eq!(woken.0.load(Ordering::SeqCst), round);
                assert_eq!(read(&mut reader, 4).await, b"news");
            }
        }
    }
}
