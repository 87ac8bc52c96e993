//! One-way pipes with a name: many processes write, one reads.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::error::{BindError, ConnectError, NameError};
use crate::limits::RECORD;
use crate::name::PipeName;
use crate::stream::PipeReader;
use crate::sys;

/// The reading end of a FIFO.
///
/// It does not end when the last writer goes: this process holds a writing end too.
/// Only processes of the same user reach it. Dropping it removes the FIFO.
///
/// Where the FIFO is removed while it is read, as by a program that cleans /tmp, it is made
/// again (on Linux, by inotify), and what was written to the lost one is read too.
///
/// There are none on Windows: an error says so.
///
/// ```
/// use panpipe_transport::{FifoReader, FifoWriter};
/// use tokio::io::AsyncReadExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc.fifo.{}", std::process::id());
/// let mut reader = FifoReader::bind(&name)?;
/// let mut writer = FifoWriter::new(&name)?;
/// writer.write(b"whole or not at all").await?;
/// let mut bytes = [0; 19];
/// reader.read_exact(&mut bytes).await?;
/// assert_eq!(&bytes, b"whole or not at all");
/// # Ok(())
/// # }
/// ```
pub struct FifoReader {
    name: PipeName,
    /// The first one is read until it is empty: records are written whole, so none is torn. Behind
    /// the FIFO of the name there are those that have lost it and still have writers.
    readers: VecDeque<PipeReader>,
    held: sys::HeldEnd,
    /// `None` once it has been given up.
    right: Option<sys::FifoName>,
    /// Ready when the FIFO may have lost its name.
    event: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl fmt::Debug for FifoReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FifoReader").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FifoReader {
    /// Makes the FIFO of a name. That of a reader that has died is taken over, with
    /// what is still in it; one that is read, or that others than this user can open,
    /// and anything else that stands there, is refused and left untouched.
    ///
    /// # Errors
    ///
    /// [`BindError`] names the path and says what to do.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn bind(name: impl TryInto<PipeName, Error: Into<NameError>>) -> Result<Self, BindError> {
        let name = name.try_into().map_err(Into::into)?;
        let (half, held, right) = sys::bind_fifo(name.place())?;
        let (readers, event) = ([PipeReader::new(half)].into(), Box::pin(right.event()));
        Ok(FifoReader { name, readers, held, right: Some(right), event })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &PipeName {
        &self.name
    }

    /// Reads what is there, and never waits.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing is.
    pub fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        for _ in 0..self.readers.len() {
            match self.readers[0].try_read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readers.rotate_left(1),
                // A FIFO without a name, whose last writer has gone.
                Ok(0) if !bytes.is_empty() && self.readers.len() > 1 => {
                    self.readers.pop_front();
                }
                read => return read,
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Makes the FIFO again if it has lost its name. What was written to the lost one is read.
    fn bind_again_if_lost(&mut self) {
        self.event = match &self.right {
            Some(right) => Box::pin(right.event()),
            None => Box::pin(std::future::pending()),
        };
        let Some(right) = self.right.take_if(|right| right.is_lost()) else { return };
        let name = &self.name;
        match right.bind_again() {
            Ok((half, held, right)) => {
                tracing::warn!(%name, "the FIFO of this name was removed while it was read; made again");
                self.event = Box::pin(right.event());
                self.readers.push_back(PipeReader::new(half));
                (self.held, self.right) = (held, Some(right));
            }
            Err(error) => {
                tracing::error!(
                    %name,
                    "the FIFO of this name was removed while it was read, and cannot be made again: {error}; no other writers find this reader"
                );
                self.event = Box::pin(std::future::pending());
            }
        }
    }

    /// Gives up the name, for another reader to take. What is in the FIFO, and what is
    /// written by who has it open, can still be read.
    pub fn give_up_name(&mut self) {
        self.right = None;
    }
}

impl AsyncRead for FifoReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            for _ in 0..this.readers.len() {
                let before = buf.filled().len();
                match Pin::new(&mut this.readers[0]).poll_read(cx, buf) {
                    Poll::Pending => this.readers.rotate_left(1),
                    // A FIFO without a name, whose last writer has gone.
                    Poll::Ready(Ok(()))
                        if buf.filled().len() == before && buf.remaining() > 0 && this.readers.len() > 1 =>
                    {
                        this.readers.pop_front();
                    }
                    read => return read,
                }
            }
            if this.event.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.bind_again_if_lost();
        }
    }
}

/// The writing end of a FIFO, of which there may be many in many processes.
///
/// A reader that goes and comes back is found again by the next write.
#[derive(Debug)]
pub struct FifoWriter {
    name: PipeName,
    half: Option<sys::WriteHalf>,
}

impl FifoWriter {
    /// How many bytes can be written at once.
    pub const LONGEST: usize = if RECORD < sys::ATOMIC { RECORD } else { sys::ATOMIC };

    /// A writer to the FIFO of a name, which is opened when it is needed.
    ///
    /// # Errors
    ///
    /// When no pipe can have the name.
    pub fn new(name: impl TryInto<PipeName, Error: Into<NameError>>) -> Result<Self, NameError> {
        Ok(FifoWriter { name: name.try_into().map_err(Into::into)?, half: None })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &PipeName {
        &self.name
    }

    /// Opens the FIFO now, if it is not open.
    ///
    /// # Errors
    ///
    /// [`ConnectError::NotFound`] when nobody reads; nothing is made then.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn open(&mut self) -> Result<(), ConnectError> {
        self.opened().map(drop)
    }

    fn opened(&mut self) -> Result<&mut sys::WriteHalf, ConnectError> {
        Ok(match &mut self.half {
            Some(half) => half,
            none => none.insert(sys::open_fifo(self.name.place())?),
        })
    }

    /// Writes `bytes`, at most [`LONGEST`](Self::LONGEST) of them, in one piece: no
    /// other writer's come between. Waits while the FIFO is full. Cancel safe: they
    /// are written whole or not at all.
    ///
    /// # Errors
    ///
    /// [`ConnectError::NotFound`] when nobody reads, whose next call may find a reader
    /// again. Nothing was written.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        if bytes.len() > Self::LONGEST {
            let why = format!("{} bytes are more than the {} that stay together", bytes.len(), Self::LONGEST);
            return Err(self.failed(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        loop {
            let was_open = self.half.is_some();
            let half = self.opened()?;
            let written = poll_fn(|cx| half.poll_write(cx, bytes)).await;
            match written {
                Ok(n) if n == bytes.len() => return Ok(()),
                Ok(n) => {
                    let why = format!("the system took {n} bytes of {}, and has to take all", bytes.len());
                    return Err(self.failed(io::Error::new(io::ErrorKind::WriteZero, why)));
                }
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.half = None;
                    // Another reader may have come since this end was opened.
                    if !was_open {
                        let (path, hint) = (self.name.place().to_string(), self.name.place().hint());
                        return Err(ConnectError::NotFound { path, hint });
                    }
                }
                Err(source) => {
                    self.half = None;
                    return Err(self.failed(source));
                }
            }
        }
    }

    fn failed(&self, source: io::Error) -> ConnectError {
        ConnectError::Io { path: self.name.place().to_string(), source }
    }
}
