//! Streams of bytes at which threads wait by themselves: no event loop, one system call
//! for each write, and for each read that does not look first.

use std::hint;
use std::io::{self, IoSlice, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::access::Access;
use crate::error::{BindError, NameError};
use crate::latency::Latency;
use crate::limits::SPIN_LOOKS;
use crate::name::PipeName;
use crate::peer::Peer;
use crate::spin::Spin;
use crate::stream::{Hold, PipeWriter};
use crate::sys;

/// A duplex stream of bytes whose reader waits in the read itself, and whose writer never
/// waits.
///
/// It needs no tokio runtime. It is made by [`connect`](crate::connect) and
/// [`blocking`](crate::Connect::blocking), by a [`BlockingListener`], and by
/// [`anonymous`](crate::anonymous). On Windows there is none yet: whatever makes one fails
/// as [`Unsupported`](io::ErrorKind::Unsupported).
#[derive(Debug)]
pub struct BlockingStream {
    reader: BlockingReader,
    writer: BlockingWriter,
    peer: Peer,
}

impl BlockingStream {
    pub(crate) fn new(read: sys::BlockingRead, write: sys::WriteHalf, peer: Peer) -> Self {
        let writer = BlockingWriter(PipeWriter::new(write.of_threads()));
        BlockingStream { reader: BlockingReader::new(read), writer, peer }
    }

    /// Takes up the stream whose handles a parent has passed on, as
    /// [`PipeStream::from_handles`](crate::PipeStream::from_handles) does.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn from_handles(handles: &str) -> io::Result<Self> {
        let (read, write) = sys::take_handles_blocking(handles)?;
        Ok(BlockingStream::new(read, write, Peer::unknown()))
    }

    /// Takes up the standard streams, as [`stdio`](crate::stdio()) does.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn stdio() -> io::Result<Self> {
        let (read, write) = sys::take_stdio_blocking()?;
        Ok(BlockingStream::new(read, write, Peer::unknown()))
    }

    /// The process at the other end.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer.clone()
    }

    /// Says who is at the other end, where this process knows and the system does not.
    #[must_use]
    pub fn with_peer(mut self, peer: Peer) -> Self {
        self.peer = peer;
        self
    }

    /// Sets how it waits for bytes, by which it is [`Latency::Adaptive`] otherwise.
    #[must_use]
    pub fn with_latency(mut self, latency: Latency) -> Self {
        self.reader.spin = Spin::of_threads(latency);
        self
    }

    /// What ends a wait of its reader's: see [`BlockingReader::interrupt`].
    #[must_use]
    pub fn interrupt(&self) -> Interrupt {
        self.reader.interrupt()
    }

    /// Whether it can have a bypass: it is a socket of a system where there are bypasses.
    #[must_use]
    pub fn can_have_bypass(&self) -> bool {
        self.writer.0.half.can_have_bypass()
    }

    /// The two directions, each on its own.
    #[must_use]
    pub fn into_split(self) -> (BlockingReader, BlockingWriter) {
        (self.reader, self.writer)
    }
}

/// The end of a stream that is read, by a thread that waits.
#[derive(Debug)]
pub struct BlockingReader {
    pub(crate) read: sys::BlockingRead,
    /// Where there is a [bypass](crate::bypass): the way by which it does not read now.
    pub(crate) other: Option<Box<sys::BlockingRead>>,
    spin: Spin,
    interrupt: Interrupt,
}

impl BlockingReader {
    fn new(read: sys::BlockingRead) -> Self {
        let interrupt = Interrupt::of(read.interrupt());
        BlockingReader { read, other: None, spin: Spin::of_threads(Latency::default()), interrupt }
    }

    /// Looks for bytes for a moment: that is mostly quicker than a thread that wakes.
    fn look(&mut self, bytes: &mut [u8]) -> Option<io::Result<usize>> {
        while self.spin.stays(Duration::MAX) {
            for _ in 0..SPIN_LOOKS {
                match self.read.try_read(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => hint::spin_loop(),
                    Err(error) => {
                        if error.kind() == io::ErrorKind::Unsupported {
                            self.spin = Spin::of_threads(Latency::Asleep);
                        }
                        // What else is wrong the read itself meets too.
                        return None;
                    }
                    Ok(n) => return Some(Ok(n)),
                }
            }
        }
        None
    }

    /// What ends a wait in [`read`](Read::read) from another thread.
    #[must_use]
    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// It can go on by another way, and its waits there are ended like those here.
    pub(crate) fn take_up(&mut self, other: sys::BlockingRead) {
        self.interrupt.covers(other.interrupt());
        self.other = Some(Box::new(other));
    }
}

impl Read for BlockingReader {
    /// Waits for bytes: one system call, where none is made in vain while it waits
    /// [awake](Latency). A signal does not end it.
    #[inline]
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.look(bytes).unwrap_or_else(|| self.read.read(bytes));
        self.spin.arrived();
        read
    }
}

/// Ends what a [`BlockingReader`] reads, from any thread.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<Mutex<Ends>>);

/// The ends that a reader reads from.
#[derive(Debug)]
struct Ends {
    are_over: bool,
    all: Vec<sys::Interrupt>,
}

impl Interrupt {
    fn of(end: sys::Interrupt) -> Self {
        Interrupt(Arc::new(Mutex::new(Ends { are_over: false, all: vec![end] })))
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn covers(&self, end: sys::Interrupt) {
        let mut ends = self.lock();
        if ends.are_over {
            end.end_reading();
        }
        ends.all.push(end);
    }

    /// Behind what has come the reader finds the end of the stream. Of a pipe on Linux this
    /// takes `/proc`, and elsewhere it is of no effect on a thread that is in a read already.
    pub fn end_reading(&self) {
        let mut ends = self.lock();
        ends.are_over = true;
        ends.all.iter().for_each(sys::Interrupt::end_reading);
    }
}

/// The end of a stream that is written. It never waits: [`wait`] does, at its
/// [`room`](Self::room).
///
/// A pipe that nobody reads is an error, and no signal. On Unix this relies, for speed, on
/// SIGPIPE being ignored still if it was when the stream was made: it is in Rust programs.
/// A program that gives it its default action does that before.
#[derive(Debug)]
pub struct BlockingWriter(pub(crate) PipeWriter);

impl BlockingWriter {
    /// Writes what fits at once.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing fits, `BrokenPipe` when nobody reads any more.
    #[inline]
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    /// The same for bytes that stand in several places, which follow one another.
    ///
    /// # Errors
    ///
    /// As [`try_write`](Self::try_write).
    pub fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    /// Tells the system how much of what is written it is to hold until it is read, as
    /// [`PipeWriter::hold`](crate::PipeWriter::hold).
    #[inline]
    pub fn hold(&mut self, hold: Hold) {
        self.0.hold(hold);
    }

    /// What to wait at until something fits; nothing once it was shut down.
    ///
    /// A pipe is closed with the last of these.
    #[must_use]
    pub fn room(&self) -> Option<Room> {
        self.0.room()
    }

    /// The other side reads the end of the stream from here on.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn shut_down(&mut self) -> io::Result<()> {
        self.0.half.shut_down()
    }
}

/// Where something can be written, some time.
#[derive(Debug)]
pub struct Room(sys::Room);

impl Room {
    pub(crate) fn of(room: sys::Room) -> Self {
        Room(room)
    }
}

/// Ends a [`wait`] from another thread.
#[derive(Debug)]
pub struct Bell(sys::Bell);

impl Bell {
    /// A bell that has not been rung.
    ///
    /// # Errors
    ///
    /// When the system has no more descriptors.
    pub fn new() -> io::Result<Self> {
        sys::Bell::new().map(Bell)
    }

    /// Ends the wait that goes on, or the next one. Rung twice it is heard once. It may be
    /// rung in a signal handler.
    pub fn ring(&self) {
        self.0.ring();
    }
}

/// What a [`wait`] has ended with. Nothing: its time is over, or a signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    /// Reading does not wait.
    pub readable: bool,
    /// Something can be written, or fails at once.
    pub writable: bool,
    /// The bell has been rung.
    pub rung: bool,
}

/// Waits until one of these is ready, or some time has passed.
///
/// ```
/// use panpipe_transport::blocking::{self, Ready};
/// use panpipe_transport::anonymous;
///
/// # #[cfg(unix)]
/// # fn main() -> std::io::Result<()> {
/// let (one, other) = anonymous::blocking_pair()?;
/// let (reader, _writer) = one.into_split();
/// let (_reader, mut writer) = other.into_split();
/// writer.try_write(b"x")?;
/// let ready = blocking::wait(Some(&reader), None, None, None)?;
/// assert_eq!(ready, Ready { readable: true, ..Ready::default() });
/// # Ok(())
/// # }
/// # #[cfg(windows)]
/// # fn main() {}
/// ```
///
/// # Errors
///
/// When the system is out of memory.
pub fn wait(
    read: Option<&BlockingReader>,
    write: Option<&Room>,
    bell: Option<&Bell>,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    let (read, write) = (read.map(|read| &read.read), write.map(|room| &room.0));
    sys::wait(read, write, bell.map(|bell| &bell.0), timeout)
}

/// A name that is served by threads. What [`Listener`](crate::Listener) says of names
/// holds here too.
#[derive(Debug)]
pub struct BlockingListener {
    name: PipeName,
    access: Access,
    listener: sys::BoundListener,
}

impl BlockingListener {
    /// Takes a name, for whoever may use it.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind_for`](crate::Listener::bind_for).
    pub fn bind_for(
        name: impl TryInto<PipeName, Error: Into<NameError>>,
        access: Access,
    ) -> Result<Self, BindError> {
        let name = name.try_into().map_err(Into::into)?;
        let listener = sys::BoundListener::bind(name.place(), access.reach())?;
        Ok(BlockingListener { name, access, listener })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &PipeName {
        &self.name
    }

    /// Waits for any client, also one that may not use the pipe, until the bell rings or
    /// some time has passed: then there is none. [`access`](Self::access) is for the
    /// caller to ask.
    ///
    /// # Errors
    ///
    /// What the system says, mostly that there are too many open files; it may be asked
    /// again, after a pause.
    pub fn accept_any(&self, bell: &Bell, timeout: Option<Duration>) -> io::Result<Option<BlockingStream>> {
        let accepted = self.listener.accept(&bell.0, timeout)?;
        Ok(accepted.map(|(read, write, peer)| BlockingStream::new(read, write, peer)))
    }

    /// Who may use it.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Frees the name and keeps those who wait to be accepted.
    #[must_use = "those who wait are turned away when this is dropped"]
    pub fn retire(self) -> BlockingRetired {
        BlockingRetired(self.listener.retire())
    }
}

/// The clients that a [`BlockingListener`] had not accepted when it gave up its name.
#[derive(Debug)]
pub struct BlockingRetired(sys::RetiredListener);

impl BlockingRetired {
    /// The next client that waits, also one that may not use the pipe; `None` once there
    /// is none. Never waits for one.
    ///
    /// # Errors
    ///
    /// As [`BlockingListener::accept_any`].
    pub fn accept_any(&mut self) -> io::Result<Option<BlockingStream>> {
        let accepted = self.0.accept_blocking()?;
        Ok(accepted.map(|(read, write, peer)| BlockingStream::new(read, write, peer)))
    }
}
