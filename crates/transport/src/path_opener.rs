//! Opens files by paths that a peer names.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::ImpersonateError;
use crate::peer::Peer;
use crate::sys;

/// Opens files by paths that a peer names, and refuses what belongs to this process.
///
/// The closure of [`Peer::impersonate`] has the peer's rights to files, but it still runs in
/// this process. `/proc/self`, `/dev/fd`, `/dev/stdin` and `/dev/tty` are therefore this
/// process's memory map, open files and terminal, and the system lets a thread open its own
/// process's. A path that a peer names must not be opened by [`std::fs`], but by this opener,
/// inside of the closure:
///
/// ```
/// # use panpipe_transport::{OpenError, PathOpener, Peer};
/// # async fn read(peer: Peer, path: std::path::PathBuf) -> Result<String, OpenError> {
/// let file = peer.impersonate(move || PathOpener::new().open(&path)).await??;
/// # Ok(std::io::read_to_string(file).unwrap())
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # if cfg!(unix) {
/// # let error = read(Peer::this_process(), "/proc/self/maps".into()).await.unwrap_err();
/// # assert!(matches!(error, OpenError::Refused { .. }), "{error}");
/// # read(Peer::this_process(), "/etc/passwd".into()).await.unwrap();
/// # }
/// # }
/// ```
///
/// [`Peer::open`] does both steps. Inside of a handler `panpipe::call::open` is shorter still.
///
/// The opener accepts regular files, and directories if [`directories`](Self::directories)
/// is set. It refuses:
/// - a path through one of the kernel's links, as `/proc/self/fd/3`, `/dev/stdin` or
///   `/proc/self/cwd/notes`;
/// - a file of procfs, or of the security modules' file systems, wherever they are mounted:
///   their contents depend on the process that reads them;
/// - devices, terminals, FIFOs and sockets;
/// - a relative path: the current directory is this process's.
///
/// The checks are made twice: before the file is opened for reading or writing, and again on
/// the opened descriptor, so a path that changes in between gains nothing. The opener never
/// waits for a FIFO's other end or for a terminal. An existing file is truncated only after
/// the checks.
///
/// Paths are looked up in this process's mount namespace and root directory. See SECURITY.md
/// for everything else that impersonation does not separate.
#[derive(Debug, Clone)]
#[must_use = "a file is opened by `.open(path)`"]
pub struct PathOpener {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
    pub(crate) truncate: bool,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) directories: bool,
}

impl Default for PathOpener {
    fn default() -> Self {
        PathOpener::new()
    }
}

impl PathOpener {
    /// Opens existing regular files for reading.
    pub const fn new() -> Self {
        PathOpener {
            read: true,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            directories: false,
        }
    }

    /// Whether the file is opened for reading. The default is true.
    pub const fn read(mut self, yes: bool) -> Self {
        self.read = yes;
        self
    }

    /// Whether the file is opened for writing.
    pub const fn write(mut self, yes: bool) -> Self {
        self.write = yes;
        self
    }

    /// Whether each write goes to the end of the file. Implies writing.
    pub const fn append(mut self, yes: bool) -> Self {
        self.append = yes;
        self
    }

    /// Whether an existing file is emptied. Takes [`write`](Self::write).
    pub const fn truncate(mut self, yes: bool) -> Self {
        self.truncate = yes;
        self
    }

    /// Whether a missing file is created. Takes [`write`](Self::write) or
    /// [`append`](Self::append). This process's umask decides the new file's mode.
    pub const fn create(mut self, yes: bool) -> Self {
        self.create = yes;
        self
    }

    /// Whether the file must not exist yet. Takes [`write`](Self::write) or
    /// [`append`](Self::append).
    pub const fn create_new(mut self, yes: bool) -> Self {
        self.create_new = yes;
        self
    }

    /// Whether a directory may be opened too. It can only be opened for reading.
    pub const fn directories(mut self, yes: bool) -> Self {
        self.directories = yes;
        self
    }

    /// Opens the file at an absolute path with the rights of the calling thread.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. On Windows always: nothing can be done as the peer there.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<File, OpenError> {
        let path = path.as_ref();
        if !path.is_absolute() {
            return Err(OpenError::Relative { path: path.to_owned() });
        }
        let writes = self.write || self.append;
        if !writes && (!self.read || self.create || self.create_new || self.truncate) {
            let why = "creating and truncating take `write` or `append`, and a file is opened for at least one of reading and writing";
            let source = io::Error::new(io::ErrorKind::InvalidInput, why);
            return Err(OpenError::Io { path: path.to_owned(), source });
        }
        sys::open_path(path, self)
    }
}

/// Why a file was not opened by a path that a peer named.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path is relative.
    #[error(
        "{} was not opened: the path is relative, and the current directory is the server's; send an absolute path",
        path.display()
    )]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// The path leads to something that belongs to this process, or to no regular file.
    #[error("{} was not opened: it is {what}; only regular files are opened for another process", path.display())]
    Refused {
        /// The path.
        path: PathBuf,
        /// What the path leads to.
        what: &'static str,
    },
    /// The system refuses.
    #[error("{} cannot be opened: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Nothing can be done as the peer.
    #[error(transparent)]
    Impersonate(#[from] ImpersonateError),
}

impl OpenError {
    /// The kind of the error, as [`std::io::Error`] has it.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            OpenError::Relative { .. } => io::ErrorKind::InvalidInput,
            OpenError::Refused { .. } => io::ErrorKind::PermissionDenied,
            OpenError::Io { source, .. } => source.kind(),
            OpenError::Impersonate(_) => io::ErrorKind::Other,
        }
    }
}

/// So that `?` works in a function that returns `io::Result`.
impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        io::Error::new(error.kind(), error)
    }
}

impl Peer {
    /// Opens the file at an absolute path with the rights of the process at the other end,
    /// as [`impersonate`](Self::impersonate) does.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    ///
    /// # Cancel safety
    ///
    /// As [`impersonate`](Self::impersonate). A file that was opened meanwhile is closed.
    pub async fn open(&self, path: impl Into<PathBuf>, opener: PathOpener) -> Result<File, OpenError> {
        let path = path.into();
        self.impersonate(move || opener.open(path)).await?
    }
}
