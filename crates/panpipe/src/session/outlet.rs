//! The two halves of a connection's byte stream, as the driver and the callers
//! use them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use panpipe_transport::{PipeReader, PipeStream, PipeWriter};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};

/// A stream of the user's own.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// Where bytes come from.
pub(crate) enum Inlet {
    Pipe(PipeReader),
    Stream(ReadHalf<Pin<Box<dyn Io>>>),
}

/// Where bytes go.
pub(crate) enum Outlet {
    /// Can be written to by whoever has something to say.
    Pipe(PipeWriter),
    /// Can only be written to by the driver: its waker is the only one.
    Stream(WriteHalf<Pin<Box<dyn Io>>>),
    /// Nowhere any more.
    Closed,
}

pub(crate) fn of_pipe(stream: PipeStream) -> (Inlet, Outlet) {
    let (reader, writer) = stream.into_split();
    (Inlet::Pipe(reader), Outlet::Pipe(writer))
}

pub(crate) fn of_stream(io: impl AsyncRead + AsyncWrite + Send + 'static) -> (Inlet, Outlet) {
    let io: Pin<Box<dyn Io>> = Box::pin(io);
    let (reader, writer) = tokio::io::split(io);
    (Inlet::Stream(reader), Outlet::Stream(writer))
}

impl AsyncRead for Inlet {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Inlet::Pipe(reader) => Pin::new(reader).poll_read(cx, buf),
            Inlet::Stream(reader) => Pin::new(reader).poll_read(cx, buf),
        }
    }
}

impl Outlet {
    /// Writes what fits at once; `WouldBlock` when nothing does.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Outlet::Pipe(writer) => writer.try_write(bytes),
            Outlet::Stream(_) => Err(io::ErrorKind::WouldBlock.into()),
            Outlet::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Outlet::Pipe(writer) => Pin::new(writer).poll_write(cx, bytes),
            Outlet::Stream(writer) => Pin::new(writer).poll_write(cx, bytes),
            Outlet::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Pushes written bytes through whatever buffers a user's stream, or the event
    /// loop, has.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Outlet::Pipe(writer) => Pin::new(writer).poll_flush(cx),
            Outlet::Stream(writer) => Pin::new(writer).poll_flush(cx),
            Outlet::Closed => Poll::Ready(Ok(())),
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
            Outlet::Stream(writer) => {
                let _ = Pin::new(writer).poll_shutdown(cx);
            }
            Outlet::Closed => {}
        }
    }
}
