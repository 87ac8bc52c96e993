//! The two directions of a pipe, at work in the event loop. Those of a duplex
//! pipe share it.

use std::io;
use std::os::windows::io::{IntoRawHandle, OwnedHandle};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tokio::net::windows::named_pipe::{NamedPipeClient, NamedPipeServer};
use windows_sys::Win32::Foundation::{ERROR_BROKEN_PIPE, ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED};

/// A pipe, whichever end of it.
#[derive(Debug)]
pub(super) enum Pipe {
    Server(NamedPipeServer),
    Client(NamedPipeClient),
}

macro_rules! either {
    ($pipe:expr, $each:ident => $does:expr) => {
        match $pipe {
            Pipe::Server($each) => $does,
            Pipe::Client($each) => $does,
        }
    };
}

/// The direction that is read.
#[derive(Debug)]
pub(crate) struct ReadHalf {
    pipe: Arc<Pipe>,
}

/// The direction that is written.
#[derive(Debug)]
pub(crate) struct WriteHalf {
    /// `None` once it has been shut down.
    pipe: Option<Arc<Pipe>>,
}

/// Both directions of a duplex pipe.
pub(super) fn of_pipe(pipe: Pipe) -> (ReadHalf, WriteHalf) {
    let pipe = Arc::new(pipe);
    (ReadHalf { pipe: Arc::clone(&pipe) }, WriteHalf { pipe: Some(pipe) })
}

/// Puts a handle to work, whichever end it is.
pub(super) fn of_handle(handle: OwnedHandle) -> io::Result<Pipe> {
    // SAFETY: the handle is owned and is a pipe opened for overlapped use: this
    // process or its parent made it so, in `pipe`. Reading and writing are the
    // same for both ends.
    unsafe { NamedPipeClient::from_raw_handle(handle.into_raw_handle()) }.map(Pipe::Client)
}

impl ReadHalf {
    /// Puts the reading end of a pipe to work.
    pub(crate) fn new(handle: OwnedHandle) -> io::Result<Self> {
        Ok(ReadHalf { pipe: Arc::new(of_handle(handle)?) })
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Err(error) = ready!(either!(&*self.pipe, pipe => pipe.poll_read_ready(cx))) {
                return Poll::Ready(end_or(error));
            }
            match either!(&*self.pipe, pipe => pipe.try_read(buf.initialize_unfilled())) {
                Ok(n) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(end_or(error)),
            }
        }
    }
}

impl WriteHalf {
    /// Puts the writing end of a pipe to work.
    pub(crate) fn new(handle: OwnedHandle) -> io::Result<Self> {
        Ok(WriteHalf { pipe: Some(Arc::new(of_handle(handle)?)) })
    }

    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let pipe = self.pipe.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        either!(&**pipe, pipe => pipe.try_write(bytes)).map_err(gone_or)
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let pipe = self.pipe.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        loop {
            ready!(either!(&**pipe, pipe => pipe.poll_write_ready(cx))).map_err(gone_or)?;
            match either!(&**pipe, pipe => pipe.try_write(bytes)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other.map_err(gone_or)),
            }
        }
    }

    /// The other side reads the end of the stream once the reading half, which
    /// holds the same pipe, has gone too. What was written is still read.
    pub(crate) fn shut_down(&mut self) -> io::Result<()> {
        self.pipe = None;
        Ok(())
    }
}

/// A pipe whose other end is closed has come to its end.
fn end_or(error: io::Error) -> io::Result<()> {
    if has_gone(&error) { Ok(()) } else { Err(error) }
}

fn gone_or(error: io::Error) -> io::Error {
    if has_gone(&error) { io::ErrorKind::BrokenPipe.into() } else { error }
}

fn has_gone(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(|code| code as u32);
    matches!(code, Some(ERROR_BROKEN_PIPE | ERROR_PIPE_NOT_CONNECTED | ERROR_NO_DATA))
}
