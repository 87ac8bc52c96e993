//! A duplex stream of bytes, whatever carries it, and its two halves.

use std::hint;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::blocking::Room;
use crate::bypass::BypassWriter;
use crate::latency::Latency;
use crate::limits::{LOOK, SPIN_LOOKS};
use crate::peer::Peer;
use crate::spin::Spin;
use crate::sys;

/// How much of what is written the system is to hold until the other side has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// What it does by itself, or has been told before, but not [`Little`](Self::Little).
    NotLittle,
    /// Much: reader and writer of large messages take turns less often. On Linux up to
    /// 1 MiB, and no more than the user's or the system's limits leave.
    Much,
    /// Little: what is written next reaches the other side soon.
    Little,
}

/// A duplex stream of bytes: a connected named pipe, or two anonymous ones.
#[derive(Debug)]
pub struct PipeStream {
    reader: PipeReader,
    writer: PipeWriter,
    peer: Peer,
}

impl PipeStream {
    pub(crate) fn new(read: sys::ReadHalf, write: sys::WriteHalf, peer: Peer) -> Self {
        PipeStream { reader: PipeReader::new(read), writer: PipeWriter::new(write), peer }
    }

    /// One whose client has mostly sent something by the time that it is accepted.
    pub(crate) fn accepted(read: sys::ReadHalf, write: sys::WriteHalf, peer: Peer) -> Self {
        let mut stream = PipeStream::new(read, write, peer);
        stream.reader.is_untold = sys::ReadHalf::LOOKS;
        stream
    }

    /// Takes up the stream whose handles a parent has passed on, as
    /// [`ChildEnds::handles`](crate::anonymous::ChildEnds::handles) wrote them:
    /// `"READ,WRITE"`, or one handle that is both.
    ///
    /// # Errors
    ///
    /// When the text is no handles, or they are not open, are no pipes, or have
    /// been taken up before.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn from_handles(handles: &str) -> io::Result<Self> {
        let (read, write) = sys::take_handles(handles)?;
        Ok(PipeStream::new(read, write, Peer::unknown()))
    }

    /// The process at the other end.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer.clone()
    }

    /// Says who is at the other end, where this process knows and the system
    /// does not: a parent knows its child, see [`Peer::child`].
    #[must_use]
    pub fn with_peer(mut self, peer: Peer) -> Self {
        self.peer = peer;
        self
    }

    pub(crate) fn writer(&self) -> &PipeWriter {
        &self.writer
    }

    /// Sets how it waits for bytes, by which it is [`Latency::Adaptive`] otherwise.
    #[must_use]
    pub fn with_latency(mut self, latency: Latency) -> Self {
        self.reader.set_latency(latency);
        self
    }

    /// The two directions, each on its own.
    #[must_use]
    pub fn into_split(self) -> (PipeReader, PipeWriter) {
        (self.reader, self.writer)
    }
}

/// The end of a pipe that is read.
#[derive(Debug)]
pub struct PipeReader {
    pub(crate) half: sys::ReadHalf,
    /// Where there is a [bypass](crate::bypass): the way by which it does not read now.
    pub(crate) other: Option<Box<sys::ReadHalf>>,
    spin: Spin,
    preparation: Preparation,
    /// Whether it is to be tried before the event loop has told of anything.
    is_untold: bool,
    takes_turns: bool,
}

/// Whether who looks keeps the event loop from being told too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preparation {
    /// It has not paid yet.
    None,
    Wanted,
    /// It does, if that could be had.
    Tried,
}

impl Preparation {
    #[inline]
    fn is_wanted(&mut self) {
        if *self == Preparation::None {
            *self = Preparation::Wanted;
        }
    }
}

impl PipeReader {
    pub(crate) fn new(half: sys::ReadHalf) -> Self {
        PipeReader {
            half,
            other: None,
            spin: Spin::new(Latency::default()),
            preparation: Preparation::None,
            is_untold: false,
            takes_turns: false,
        }
    }

    /// Sets how it waits for bytes. It takes up the runtime that this is called in.
    pub fn set_latency(&mut self, latency: Latency) {
        self.spin = Spin::new(latency);
    }

    /// Takes up the reading end whose handle a parent has passed on.
    ///
    /// # Errors
    ///
    /// As [`PipeStream::from_handles`].
    pub fn from_handle(handle: &str) -> io::Result<Self> {
        sys::take_read_handle(handle).map(PipeReader::new)
    }

    /// Says that who reads deals with what has come in the very poll that reads it. Then the
    /// reader also waits awake, in a runtime of one thread, where the other side shares the
    /// processor: it gives way to that. Where other tasks have to run before anything is
    /// answered, giving way takes the processor from those, and is slower than to sleep.
    pub fn takes_turns(&mut self) {
        self.takes_turns = true;
    }

    /// Whether who reads is to [`look`](Self::look) for bytes, rather than to have itself
    /// polled again: it is at work in a runtime of many threads, and its [`Latency`] allows
    /// it.
    #[inline]
    #[must_use]
    pub fn looks(&self) -> bool {
        self.spin.is_staying()
    }

    /// Reads what comes within a moment, 100 µs at most, and keeps the thread meanwhile; in
    /// a runtime of one thread what comes as soon as the other side, which shares the
    /// processor, has been let run.
    /// `None` when nothing has come, or when it does not pay to look: the reader has
    /// looked in vain too often, or bytes come on other connections too.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read), but for `WouldBlock`.
    pub fn look(&mut self, bytes: &mut [u8]) -> Option<io::Result<usize>> {
        if !self.spin.is_staying() {
            return self.look_beside_others(bytes);
        }
        if !self.spin.stays(LOOK) {
            return None;
        }
        // Who waits for events is not to be woken as well.
        self.half.turns_deaf();
        loop {
            for _ in 0..SPIN_LOOKS {
                match self.half.try_read(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => hint::spin_loop(),
                    read => {
                        self.spin.arrived();
                        self.preparation.is_wanted();
                        return Some(read);
                    }
                }
            }
            if !self.spin.stays(LOOK) {
                return None;
            }
        }
    }

    /// Whether it waits awake, in a runtime of one thread: it has asked to be polled again.
    #[inline]
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.spin.has_asked()
    }

    /// It reads by another way from here on, which may have bytes already.
    pub(crate) fn goes_on_elsewhere(&mut self) {
        self.preparation = if self.half.has_gate() { Preparation::Tried } else { Preparation::None };
        self.is_untold = true;
    }

    /// Looks once, where the other side shares the processor, after it has been let run.
    fn look_beside_others(&mut self, bytes: &mut [u8]) -> Option<io::Result<usize>> {
        if !self.spin.gives_way() {
            return None;
        }
        match self.half.try_read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            read => {
                self.spin.arrived();
                Some(read)
            }
        }
    }

    /// To be called after a [`look`](Self::look), at the latest when no more is looked for,
    /// and until nothing is read: from there on the reader is woken again when something
    /// comes, if it was to be.
    ///
    /// # Errors
    ///
    /// What the system says, `WouldBlock` when nothing has come meanwhile.
    #[inline]
    pub fn listens(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.half.listens(bytes)
    }

    /// Whether looking pays, and will do so better after [`prepares`](Self::prepares).
    #[inline]
    #[must_use]
    pub fn is_to_prepare(&self) -> bool {
        self.preparation == Preparation::Wanted
    }

    /// Sees to it that looking wakes nobody else, if that can be had. To be called in the
    /// runtime that the reader is at work in, and to be followed by a poll.
    #[cold]
    pub fn prepares(&mut self) {
        self.preparation = Preparation::Tried;
        // What cannot be had makes looking slower, and nothing else.
        let _ = self.half.builds_gate();
    }

    /// Reads what is there, and never waits.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing is.
    pub fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.half.try_read(bytes)
    }
}

/// The end of a pipe that is written.
#[derive(Debug)]
pub struct PipeWriter {
    pub(crate) half: sys::WriteHalf,
    /// Where there is a [bypass](crate::bypass): the way by which it does not write now.
    pub(crate) other: Option<Box<BypassWriter>>,
    pub(crate) on_bypass: bool,
}

impl PipeWriter {
    pub(crate) fn new(half: sys::WriteHalf) -> Self {
        PipeWriter { half, other: None, on_bypass: false }
    }

    /// Takes up the writing end whose handle a parent has passed on.
    ///
    /// # Errors
    ///
    /// As [`PipeStream::from_handles`].
    pub fn from_handle(handle: &str) -> io::Result<Self> {
        sys::take_write_handle(handle).map(PipeWriter::new)
    }

    /// Writes what fits at once, and never waits.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing fits, `BrokenPipe` when nobody reads any more.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.half.try_write(bytes)
    }

    /// The same for bytes that stand in several places, which follow one another.
    ///
    /// # Errors
    ///
    /// As [`try_write`](Self::try_write).
    pub fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.half.try_write_vectored(slices)
    }
}

impl PipeWriter {
    /// What a thread [waits](crate::blocking::wait) at until something can be written; nothing
    /// once it was shut down, and where the system has no such thing.
    #[must_use]
    pub fn room(&self) -> Option<Room> {
        self.half.room().map(Room::of)
    }

    /// Tells the system how much of what is written it is to hold until it is read.
    /// Where it cannot be told it goes on as it is.
    #[inline]
    pub fn hold(&mut self, hold: Hold) {
        // What is large goes by the socket.
        let hold = if self.on_bypass && hold == Hold::Much { Hold::NotLittle } else { hold };
        self.half.hold(hold);
    }
}

impl AsyncRead for PipeReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let looks = if std::mem::take(&mut this.is_untold) { 1 } else { this.spin.looks() };
        for _ in 0..looks {
            match this.half.try_read(buf.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => hint::spin_loop(),
                read => {
                    this.spin.arrived();
                    return Poll::Ready(read.map(|n| buf.advance(n)));
                }
            }
        }
        let waits_awake = this.takes_turns || !this.spin.is_yielding();
        if waits_awake && !this.half.is_watched() && this.spin.wait_untold(cx) {
            return Poll::Pending;
        }
        let read = this.half.poll_read(cx, buf);
        match read {
            Poll::Ready(_) => this.spin.arrived(),
            Poll::Pending if waits_awake => this.spin.wait(cx),
            Poll::Pending => {}
        }
        read
    }
}

impl AsyncWrite for PipeWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.half.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.half.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        sys::WriteHalf::VECTORED
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half.poll_flush(cx)
    }

    /// The other side reads the end of the stream from here on.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A failure to flush changes nothing: the end is said all the same.
        let _ = ready!(self.half.poll_flush(cx));
        self.other = None;
        Poll::Ready(self.half.shut_down())
    }
}

impl AsyncRead for PipeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for PipeStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::{Builder, Runtime};
    use tokio::task::LocalSet;

    use super::*;
    use crate::limits::SPIN_UNTOLD;
    use crate::{Listener, PipeName, connect};

    #[tokio::test]
    async fn on_one_processor_only_who_takes_turns_waits_awake() {
        let (one, _other) = crate::anonymous::pair().unwrap();
        let (mut reader, _writer) = one.into_split();
        let mut bytes = [0; 8];
        for takes_turns in [false, true] {
            reader.spin = Spin::yielding();
            if takes_turns {
                reader.takes_turns();
            }
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let read = Pin::new(&mut reader).poll_read(&mut cx, &mut ReadBuf::new(&mut bytes));
            assert!(read.is_pending());
            assert_eq!(reader.is_awake(), takes_turns && sys::ReadHalf::LOOKS);
        }
    }

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// One that waits awake on a single processor, and who writes to it.
    async fn named() -> (PipeReader, PipeStream) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = PipeName::new(&format!("unit.stream.{}.{next}", std::process::id())).unwrap();
        let listener = Listener::bind(&name).unwrap();
        let stream = connect(&name).await.unwrap();
        let (mut reader, _) = stream.into_split();
        reader.spin = Spin::yielding();
        reader.takes_turns();
        (reader, listener.accept().await.unwrap())
    }

    fn poll_once(reader: &mut PipeReader) -> Poll<io::Result<()>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        Pin::new(reader).poll_read(&mut cx, &mut ReadBuf::new(&mut [0; 8]))
    }

    /// A poll has the reader polled again, or registers it. On a busy machine the reader gives up
    /// polling earlier than after `SPIN_UNTOLD` times.
    #[test]
    fn the_event_loop_watches_from_the_first_wait_on() {
        runtime().block_on(async {
            let (mut reader, mut other) = named().await;
            for _ in 0..=SPIN_UNTOLD {
                let before = reader.spin.untold();
                assert!(poll_once(&mut reader).is_pending());
                let is_polled_again = reader.spin.untold() > before;
                assert_ne!(reader.half.is_watched(), is_polled_again && sys::ReadHalf::LOOKS);
                if reader.half.is_watched() {
                    break;
                }
            }
            assert!(poll_once(&mut reader).is_pending() && reader.half.is_watched());
            other.write_all(b"news").await.unwrap();
            reader.read_exact(&mut [0; 4]).await.unwrap();

            // Who is to sleep has it watch at once.
            let (mut reader, _other) = named().await;
            reader.set_latency(Latency::Asleep);
            assert!(poll_once(&mut reader).is_pending() && reader.half.is_watched());
        });
    }

    /// A runtime forgets who has yielded there when it is left.
    #[test]
    fn who_waits_awake_is_not_forgotten_by_a_runtime_that_is_left() {
        let (runtime, mut local) = (runtime(), LocalSet::new());
        let (mut reader, mut other) = runtime.block_on(named());
        let reading = local.spawn_local(async move { reader.read_u8().await });
        let once = |cx: &mut Context<'_>| Poll::Ready(Pin::new(&mut local).poll(cx).is_pending());
        assert!(runtime.block_on(poll_fn(once)));
        let read = runtime.block_on(local.run_until(async {
            other.write_u8(7).await.unwrap();
            tokio::time::timeout(Duration::from_secs(10), reading).await
        }));
        assert_eq!(read.expect("it is polled again").unwrap().unwrap(), 7);
    }

    #[test]
    fn its_own_event_loop_watches_wherever_it_is_polled() {
        let runtime = runtime();
        let (mut reader, mut other) = runtime.block_on(named());
        assert!((0..=SPIN_UNTOLD).all(|_| poll_once(&mut reader).is_pending()));
        assert!(reader.half.is_watched());
        let read = runtime.block_on(async {
            other.write_u8(7).await.unwrap();
            reader.read_u8().await
        });
        assert_eq!(read.unwrap(), 7);
    }
}
