//! The two directions of a pipe, at work in the event loop. Those of a duplex
//! pipe share it.

use std::io::{self, IoSlice};
use std::os::windows::io::{IntoRawHandle, OwnedHandle};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{Interest, ReadBuf};
use tokio::net::windows::named_pipe::{NamedPipeClient, NamedPipeServer};
use windows_sys::Win32::Foundation::{ERROR_BROKEN_PIPE, ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED};

use crate::stream::Hold;

/// The most that one write takes. The event loop keeps a copy of it until the
/// system has it.
const AT_ONCE: usize = 64 << 10;

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
    /// Whether it can be read without a word from the event loop, which holds the
    /// buffer that the system reads into.
    pub(crate) const LOOKS: bool = false;

    /// Puts the reading end of a pipe to work.
    pub(crate) fn new(handle: OwnedHandle) -> io::Result<Self> {
        Ok(ReadHalf { pipe: Arc::new(of_handle(handle)?) })
    }

    pub(crate) fn is_watched(&self) -> bool {
        true
    }

    /// Nobody looks here, so nobody is to be spared.
    pub(crate) fn builds_gate(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn has_gate(&self) -> bool {
        false
    }

    pub(crate) fn turns_deaf(&mut self) {}

    pub(crate) fn listens(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    pub(crate) fn expects_bypass(&mut self) {}

    pub(crate) fn take_bypass(&mut self) -> io::Result<(ReadHalf, WriteHalf)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reads what is there, and never waits.
    pub(crate) fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match either!(&*self.pipe, pipe => pipe.try_read(bytes)) {
            Err(error) => end_or(error).map(|()| 0),
            other => other,
        }
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
    /// Whether more than one slice is written at once: no pipe here can.
    pub(crate) const VECTORED: bool = false;

    /// Puts the writing end of a pipe to work.
    pub(crate) fn new(handle: OwnedHandle) -> io::Result<Self> {
        Ok(WriteHalf { pipe: Some(Arc::new(of_handle(handle)?)) })
    }

    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.as_ref().ok_or(io::ErrorKind::BrokenPipe)?.write(bytes)
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let pipe = self.pipe.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        loop {
            ready!(pipe.poll_written(cx))?;
            match pipe.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    /// There are none here.
    pub(crate) fn can_have_bypass(&self) -> bool {
        false
    }

    pub(crate) fn pass_bypass<R>(
        &mut self,
        _: &[u8],
        _: impl FnOnce(OwnedHandle) -> io::Result<R>,
    ) -> io::Result<(R, WriteHalf)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn works_like(&mut self, _: &WriteHalf) {}

    /// A pipe of this system cannot be told.
    pub(crate) fn hold(&mut self, _: Hold) {}

    pub(crate) fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write(first_of(slices))
    }

    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write(cx, first_of(slices))
    }

    /// Waits until the system has what was written: until then it is the event
    /// loop's, and would be lost with it.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.pipe {
            Some(pipe) => pipe.poll_written(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// The other side reads the end of the stream once the reading half, which
    /// holds the same pipe, has gone too. What was written is still read.
    pub(crate) fn shut_down(&mut self) -> io::Result<()> {
        self.pipe = None;
        Ok(())
    }
}

impl Pipe {
    /// Waits until no write is under way.
    fn poll_written(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, pipe => pipe.poll_write_ready(cx)).map_err(gone_or)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        // The other side could take a write of nothing for the end.
        if bytes.is_empty() {
            return Ok(0);
        }
        let bytes = &bytes[..bytes.len().min(AT_ONCE)];
        let mut taken = None;
        // The write is under way now, which the event loop does not take for
        // waiting. Told so, it takes the pipe for writable again when it is done,
        // even if that was before this returns.
        let outcome = either!(self, pipe => pipe.try_io(Interest::WRITABLE, || {
            taken = Some(pipe.try_write(bytes)?);
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        }));
        match (taken, outcome) {
            (Some(taken), _) => Ok(taken),
            (None, Err(error)) => Err(gone_or(error)),
            (None, Ok(())) => Ok(0),
        }
    }
}

/// The first slice that is not empty.
fn first_of<'a>(slices: &'a [IoSlice<'_>]) -> &'a [u8] {
    slices.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice)
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
