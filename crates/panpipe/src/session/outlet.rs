//! The two halves of a connection's byte stream, as the driver and the callers
//! use them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use panpipe_transport::blocking::{BlockingReader, BlockingStream, BlockingWriter, Room};
use panpipe_transport::buffer::{Outbox, TakenOut};
use panpipe_transport::{BypassWriter, Hold, Peer, PipeReader, PipeStream, PipeWriter};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};

/// A stream of the user's own.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// Where bytes come from.
pub(crate) enum Inlet {
    Pipe(PipeReader),
    /// Read by a thread that waits, before the driver is polled.
    Blocking(BlockingReader),
    Stream(ReadHalf<Pin<Box<dyn Io>>>),
}

/// Where bytes go.
pub(crate) enum Outlet {
    /// Can be written to by whoever has something to say.
    Pipe(PipeWriter),
    /// The same, where nobody is told by an event loop when there is room again.
    Blocking(BlockingWriter),
    /// Can only be written to by the driver: its waker is the only one.
    Stream(WriteHalf<Pin<Box<dyn Io>>>),
    /// The driver has it, and writes.
    Away,
    /// Nowhere any more.
    Closed,
}

pub(crate) fn of_pipe(stream: PipeStream) -> (Inlet, Outlet) {
    let (mut reader, writer) = stream.into_split();
    reader.takes_turns();
    (Inlet::Pipe(reader), Outlet::Pipe(writer))
}

pub(crate) fn of_blocking(stream: BlockingStream) -> (Inlet, Outlet) {
    let (reader, writer) = stream.into_split();
    (Inlet::Blocking(reader), Outlet::Blocking(writer))
}

pub(crate) fn of_stream(io: impl AsyncRead + AsyncWrite + Send + 'static) -> (Inlet, Outlet) {
    let io: Pin<Box<dyn Io>> = Box::pin(io);
    let (reader, writer) = tokio::io::split(io);
    (Inlet::Stream(reader), Outlet::Stream(writer))
}

#[inline]
fn write(
    writer: Pin<&mut impl AsyncWrite>,
    cx: &mut Context<'_>,
    outbox: &Outbox,
) -> Poll<io::Result<usize>> {
    if outbox.has_lent() {
        writer.poll_write_vectored(cx, &slices(outbox))
    } else {
        writer.poll_write(cx, outbox.pending())
    }
}

fn slices(outbox: &Outbox) -> [IoSlice<'_>; 3] {
    outbox.slices().map(IoSlice::new)
}

impl Inlet {
    /// From here on takes a bypass that the peer passes on. False: it takes none.
    pub(super) fn expects_bypass(&mut self, peer: &Peer) -> bool {
        match self {
            Inlet::Pipe(reader) => reader.expects_bypass(peer),
            Inlet::Blocking(reader) => reader.expects_bypass(peer),
            Inlet::Stream(_) => false,
        }
    }

    /// Takes up the bypass that came with what was read last.
    pub(super) fn take_bypass(&mut self) -> io::Result<BypassWriter> {
        match self {
            Inlet::Pipe(reader) => reader.take_bypass(),
            Inlet::Blocking(reader) => reader.take_bypass(),
            Inlet::Stream(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Makes a bypass, and passes the peer's ends on with `words`.
    pub(super) fn pass_bypass(&mut self, outlet: &mut Outlet, words: &[u8], peer: &Peer) -> io::Result<()> {
        match (self, outlet) {
            (Inlet::Pipe(reader), Outlet::Pipe(writer)) => reader.pass_bypass(writer, words, peer),
            (Inlet::Blocking(reader), Outlet::Blocking(writer)) => reader.pass_bypass(writer, words, peer),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Goes on by the other way. False: there is none.
    #[must_use]
    pub(super) fn switch(&mut self) -> bool {
        match self {
            Inlet::Pipe(reader) if reader.has_bypass() => reader.switch(),
            Inlet::Blocking(reader) if reader.has_bypass() => reader.switch(),
            _ => return false,
        }
        true
    }

    /// Whether callers read too, rather than to wait for the driver.
    pub(crate) fn is_lent(&self) -> bool {
        matches!(self, Inlet::Pipe(reader) if reader.looks())
    }
}

impl AsyncRead for Inlet {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Inlet::Pipe(reader) => Pin::new(reader).poll_read(cx, buf),
            Inlet::Blocking(_) => Poll::Pending,
            Inlet::Stream(reader) => Pin::new(reader).poll_read(cx, buf),
        }
    }
}

impl Outlet {
    /// Writes what fits at once; `WouldBlock` when nothing does.
    #[inline]
    pub(crate) fn try_write(&mut self, outbox: &Outbox) -> io::Result<usize> {
        match self {
            Outlet::Pipe(writer) if outbox.has_lent() => writer.try_write_vectored(&slices(outbox)),
            Outlet::Pipe(writer) => writer.try_write(outbox.pending()),
            Outlet::Blocking(writer) if outbox.has_lent() => writer.try_write_vectored(&slices(outbox)),
            Outlet::Blocking(writer) => writer.try_write(outbox.pending()),
            Outlet::Stream(_) | Outlet::Away => Err(io::ErrorKind::WouldBlock.into()),
            Outlet::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// What a thread waits at until something can be written, where the system has such a thing.
    pub(crate) fn room(&self) -> Option<Room> {
        match self {
            Outlet::Pipe(writer) => writer.room(),
            Outlet::Blocking(writer) => writer.room(),
            Outlet::Stream(_) | Outlet::Away | Outlet::Closed => None,
        }
    }

    /// Writes what was taken out. Only to a pipe.
    pub(crate) fn poll_write_out(
        &mut self,
        cx: &mut Context<'_>,
        taken: &TakenOut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Outlet::Pipe(writer) => Pin::new(writer).poll_write(cx, taken.pending()),
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Writes a copy of what is queued. Only to a stream of the user's own.
    pub(crate) fn poll_write_copy(&mut self, cx: &mut Context<'_>, copy: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Outlet::Stream(writer) => Pin::new(writer).poll_write(cx, copy),
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    #[inline]
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> Poll<io::Result<usize>> {
        match self {
            Outlet::Pipe(writer) => write(Pin::new(writer), cx, outbox),
            Outlet::Blocking(_) => match self.try_write(outbox) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                written => Poll::Ready(written),
            },
            Outlet::Stream(_) | Outlet::Away => Poll::Pending,
            Outlet::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Whether it goes by a bypass now.
    #[inline]
    pub(super) fn is_on_bypass(&self) -> bool {
        match self {
            Outlet::Pipe(writer) => writer.is_on_bypass(),
            Outlet::Blocking(writer) => writer.is_on_bypass(),
            Outlet::Stream(_) | Outlet::Away | Outlet::Closed => false,
        }
    }

    /// Goes on by the other way, behind `words`. An error: it goes on as before.
    pub(super) fn switch(&mut self, words: &[u8]) -> io::Result<()> {
        match self {
            Outlet::Pipe(writer) => writer.switch(words),
            Outlet::Blocking(writer) => writer.switch(words),
            Outlet::Stream(_) | Outlet::Away | Outlet::Closed => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Can go on on a bypass from here on. False: it is closed.
    #[must_use]
    pub(super) fn take_up(&mut self, bypass: BypassWriter) -> bool {
        match self {
            Outlet::Pipe(writer) => writer.take_up(bypass),
            Outlet::Blocking(writer) => writer.take_up(bypass),
            Outlet::Stream(_) | Outlet::Away | Outlet::Closed => return false,
        }
        true
    }

    /// Tells the system how much of what is written it is to hold, where it can be told.
    #[inline]
    pub(crate) fn hold(&mut self, hold: Hold) {
        match self {
            Outlet::Pipe(writer) => writer.hold(hold),
            Outlet::Blocking(writer) => writer.hold(hold),
            Outlet::Stream(_) | Outlet::Away | Outlet::Closed => {}
        }
    }

    /// Pushes written bytes through whatever buffers a user's stream, or the event
    /// loop, has.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Outlet::Pipe(writer) => Pin::new(writer).poll_flush(cx),
            Outlet::Stream(writer) => Pin::new(writer).poll_flush(cx),
            Outlet::Blocking(_) | Outlet::Away | Outlet::Closed => Poll::Ready(Ok(())),
        }
    }

    /// Ends the stream, as far as that can be done without waiting. A pipe is
    /// closed in any case.
    pub(crate) fn shut_down(&mut self, cx: &mut Context<'_>) {
        match self {
            Outlet::Pipe(writer) => {
                if Pin::new(writer).poll_shutdown(cx).is_pending() {
                    *self = Outlet::Closed;
                }
            }
            Outlet::Blocking(writer) => {
                let _ = writer.shut_down();
            }
            Outlet::Stream(writer) => {
                let _ = Pin::new(writer).poll_shutdown(cx);
            }
            Outlet::Away | Outlet::Closed => {}
        }
    }
}
