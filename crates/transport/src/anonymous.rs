//! Anonymous pipes: between the threads of a process, and between a parent and
//! the child that it hands an end to.

use std::io;
use std::process::Command;

use crate::blocking::BlockingStream;
use crate::peer::Peer;
use crate::stream::{PipeReader, PipeStream, PipeWriter};
use crate::sys;

/// Two ends of a duplex stream, each usable from any thread.
///
/// # Errors
///
/// When the system has no more pipes to give.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn pair() -> io::Result<(PipeStream, PipeStream)> {
    let (read_one, write_other) = sys::pipe()?;
    let (read_other, write_one) = sys::pipe()?;
    let peer = Peer::this_process();
    let one = PipeStream::new(sys::ReadHalf::new(read_one)?, sys::WriteHalf::new(write_one)?, peer.clone());
    let other = PipeStream::new(sys::ReadHalf::new(read_other)?, sys::WriteHalf::new(write_other)?, peer);
    Ok((one, other))
}

/// The same for threads that wait by themselves. It needs no runtime.
///
/// # Errors
///
/// As [`pair`]; on Windows always, as [`Unsupported`](io::ErrorKind::Unsupported).
pub fn blocking_pair() -> io::Result<(BlockingStream, BlockingStream)> {
    let (read_one, write_other) = sys::pipe()?;
    let (read_other, write_one) = sys::pipe()?;
    let peer = Peer::this_process();
    let of = |read, write, peer| {
        Ok::<_, io::Error>(BlockingStream::new(
            sys::BlockingRead::new(read)?,
            sys::WriteHalf::new(write)?,
            peer,
        ))
    };
    Ok((of(read_one, write_one, peer.clone())?, of(read_other, write_other, peer)?))
}

/// The two ends of a one-way pipe.
///
/// # Errors
///
/// As [`pair`].
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn one_way() -> io::Result<(PipeReader, PipeWriter)> {
    let (read, write) = sys::pipe()?;
    Ok((PipeReader::new(sys::ReadHalf::new(read)?), PipeWriter::new(sys::WriteHalf::new(write)?)))
}

/// A duplex stream whose other end is for a child.
///
/// # Errors
///
/// As [`pair`].
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn for_child() -> io::Result<(PipeStream, ChildEnds)> {
    let (read_own, write_child) = sys::pipe()?;
    let (read_child, write_own) = sys::pipe()?;
    let own =
        PipeStream::new(sys::ReadHalf::new(read_own)?, sys::WriteHalf::new(write_own)?, Peer::unknown());
    Ok((own, ChildEnds { ends: vec![read_child, write_child] }))
}

/// The same where this side's threads wait by themselves. It needs no runtime.
///
/// # Errors
///
/// As [`pair`]; on Windows always, as [`Unsupported`](io::ErrorKind::Unsupported).
pub fn blocking_for_child() -> io::Result<(BlockingStream, ChildEnds)> {
    let (read_own, write_child) = sys::pipe()?;
    let (read_child, write_own) = sys::pipe()?;
    let (read, write) = (sys::BlockingRead::new(read_own)?, sys::WriteHalf::new(write_own)?);
    let own = BlockingStream::new(read, write, Peer::unknown());
    Ok((own, ChildEnds { ends: vec![read_child, write_child] }))
}

/// A one-way pipe that a child is to write.
///
/// # Errors
///
/// As [`pair`].
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn from_child() -> io::Result<(PipeReader, ChildEnds)> {
    let (read, write_child) = sys::pipe()?;
    Ok((PipeReader::new(sys::ReadHalf::new(read)?), ChildEnds { ends: vec![write_child] }))
}

/// A one-way pipe that a child is to read.
///
/// # Errors
///
/// As [`pair`].
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn to_child() -> io::Result<(PipeWriter, ChildEnds)> {
    let (read_child, write) = sys::pipe()?;
    Ok((PipeWriter::new(sys::WriteHalf::new(write)?), ChildEnds { ends: vec![read_child] }))
}

/// Ends that are for one child and nobody else.
#[derive(Debug)]
pub struct ChildEnds {
    ends: Vec<sys::Handle>,
}

impl ChildEnds {
    /// The handles as decimal numbers with commas between them: of a duplex
    /// stream the one that the child reads, then the one that it writes. Tell it
    /// the child by its arguments or its environment.
    #[must_use]
    pub fn handles(&self) -> String {
        self.ends.iter().map(sys::handle_number).collect::<Vec<_>>().join(",")
    }

    /// Sees to it that the child that `command` starts, and no other, has the
    /// handles. Keep what this gives until the child has been spawned, and drop it
    /// then: this process's copies of the ends close with it, and only then is the
    /// child's end seen.
    ///
    /// ```no_run
    /// use std::process::Command;
    ///
    /// use panpipe_transport::anonymous;
    ///
    /// # async fn run() -> std::io::Result<()> {
    /// let (stream, ends) = anonymous::for_child()?;
    /// let mut command = Command::new("worker");
    /// command.arg(ends.handles());
    /// let passed = ends.pass_to(&mut command)?;
    /// let child = command.spawn()?;
    /// drop(passed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// On Windows a child that another thread starts meanwhile has them too.
    ///
    /// # Errors
    ///
    /// When the system does not let a handle be passed on.
    pub fn pass_to(self, command: &mut Command) -> io::Result<PassedEnds> {
        Inheritance::of(command).pass(self)
    }
}

/// What the children of one command inherit, which is spawned more than once: the
/// ends of each are their own.
#[derive(Debug)]
pub struct Inheritance(sys::Inheritance);

impl Inheritance {
    /// Prepares a command, once. It spawns nothing before ends have been passed.
    pub fn of(command: &mut Command) -> Self {
        Inheritance(sys::Inheritance::of(command))
    }

    /// Sees to it that the next child has these ends, as [`ChildEnds::pass_to`] does.
    ///
    /// # Errors
    ///
    /// When the system does not let a handle be passed on.
    pub fn pass(&self, ends: ChildEnds) -> io::Result<PassedEnds> {
        self.0.pass(ends.ends).map(|passed| PassedEnds { _passed: passed })
    }
}

/// This process's copies of a child's ends. A child that is spawned after they
/// are dropped fails to start.
#[derive(Debug)]
#[must_use = "the ends are closed when this is dropped, which must be after the child was spawned"]
pub struct PassedEnds {
    _passed: sys::Passed,
}
