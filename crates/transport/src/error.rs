//! Why a name cannot be served or reached, and why nothing was done as somebody else.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::access::AccessDenied;

/// What is wrong with the name of a pipe.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("the name of a pipe is empty")]
    Empty,
    /// A plain name has a slash in it, or a relative path was given.
    #[error("{name:?} is neither a plain name nor an absolute path; leave out the slash, or begin with one")]
    Slash {
        /// The name that was given.
        name: String,
    },
    /// The name has a character that no pipe's name can have.
    #[error("{name:?} has a character that the name of a pipe cannot have")]
    Character {
        /// The name that was given.
        name: String,
    },
    /// The name is one that means a directory.
    #[error("{name:?} names a directory, not a pipe")]
    Directory {
        /// The name that was given.
        name: String,
    },
    /// The name, or the path that it stands for, is too long for the system.
    #[error("{name:?} is {len} bytes long, it may be {limit}")]
    TooLong {
        /// The name that was given.
        name: String,
        /// How long it is, in bytes.
        len: usize,
        /// How long it may be here, in bytes.
        limit: usize,
    },
    /// There are no names of this kind, or this one is kept for something else.
    #[error("{name:?} cannot be had: {why}")]
    Unsupported {
        /// The name that was given.
        name: String,
        /// Why not.
        why: &'static str,
    },
}

impl From<Infallible> for NameError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Why a name cannot be served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// The name is no name of a pipe.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A server lives there.
    #[error("{path} is in use: {} listens there; stop it or choose another name", a_process(*pid))]
    InUse {
        /// Where the pipe would be.
        path: String,
        /// The process that has the name, where that can be told.
        pid: Option<u32>,
    },
    /// The name is another user's.
    #[error(
        "{path} is a name of user {owner}; this process is user {ours}, and can connect there but not serve"
    )]
    Foreign {
        /// Where the pipe would be.
        path: String,
        /// Whose name it is.
        owner: u32,
        /// This process's user id.
        ours: u32,
    },
    /// Something else is there, and is left as it is.
    #[error("{path} is taken by {what}; it was left untouched, remove it or choose another name")]
    Occupied {
        /// Where the pipe would be.
        path: String,
        /// What is there.
        what: String,
    },
    /// The directory cannot be trusted with a pipe.
    #[error("the directory {path} cannot hold a pipe: {why}")]
    Directory {
        /// The directory.
        path: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The system refuses.
    #[error("{path} cannot be listened on: {source}")]
    Io {
        /// Where the pipe would be.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// How a process of a user gets the right to act as others.
fn more_rights(uid: u32) -> &'static str {
    match uid {
        0 => {
            "root of a user namespace or a container can act only as users that have a number in it, and with CAP_SETUID and CAP_SETGID: give it those, or run it outside"
        }
        _ => "run it as root, or give it CAP_SETUID and CAP_SETGID",
    }
}

fn a_process(pid: Option<u32>) -> String {
    pid.map_or("a server".to_owned(), |pid| format!("process {pid}"))
}

/// Why no connection was made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name is no name of a pipe.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No server listens.
    #[error("no server listens at {path}; start it, or wait for it with `.wait(…)`{hint}")]
    NotFound {
        /// Where the pipe would be.
        path: String,
        /// Where else the server may be, after a semicolon; empty where nothing is to be said.
        hint: &'static str,
    },
    /// A server listens, and accepts nobody at the moment.
    #[error(
        "the server at {path} has too many clients waiting to be accepted; try again, or wait with `.wait(…)`"
    )]
    Busy {
        /// Where the pipe is.
        path: String,
    },
    /// No server accepted within the time that was given.
    #[error("no server accepted at {path} within {waited:?}: {last}")]
    TimedOut {
        /// Where the pipe would be.
        path: String,
        /// How long was waited.
        waited: Duration,
        /// What the last try said.
        last: Box<ConnectError>,
    },
    /// This user may not reach the pipe.
    #[error("{path} may not be reached by this user; {why}")]
    Denied {
        /// Where the pipe is.
        path: String,
        /// What keeps this user off, and what to do.
        why: String,
    },
    /// The server is not that of the user whose it has to be. Nothing was sent to it.
    #[error("the server at {path} belongs to user {theirs}, not to user {expected}; nothing was sent to it")]
    WrongOwner {
        /// Where the pipe is.
        path: String,
        /// Whose server it has to be: this process's user's, or that of the user in
        /// whose name it is.
        expected: u32,
        /// The server's user id.
        theirs: u32,
    },
    /// The server is none that this client trusts. Nothing was sent to it.
    #[error("the server at {path} is not trusted: {denied}; nothing was sent to it")]
    Untrusted {
        /// Where the pipe is.
        path: String,
        /// Who serves, and who may.
        #[source]
        denied: AccessDenied,
    },
    /// The system refuses.
    #[error("{path} cannot be connected to: {source}")]
    Io {
        /// Where the pipe is.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl ConnectError {
    /// Whether a server may yet come up.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, ConnectError::NotFound { .. } | ConnectError::Busy { .. })
    }
}

/// So that `?` works in a `main` that returns `io::Result`.
impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        let kind = match &error {
            ConnectError::NotFound { .. } => io::ErrorKind::NotFound,
            ConnectError::TimedOut { .. } => io::ErrorKind::TimedOut,
            ConnectError::Denied { .. }
            | ConnectError::WrongOwner { .. }
            | ConnectError::Untrusted { .. } => io::ErrorKind::PermissionDenied,
            ConnectError::Name(_) => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// Why nothing was done as the user at the other end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImpersonateError {
    /// There is no process at the other end whose user the system vouches for.
    #[error(
        "there is no caller to act as: in a handler there is one, of a client that came by a named pipe; not in a task that the handler spawned, and not over another stream or a child's pipes"
    )]
    NoCaller,
    /// The connection has ended, and the system does not tell any more who was at its
    /// other end.
    #[error(
        "the caller has gone, and with its connection the system's knowledge of its groups; nothing was done as anybody"
    )]
    Disconnected,
    /// This process may not change its user.
    #[error(
        "this process, of user {ours}, may not act as {wanted}; {}", more_rights(*ours)
    )]
    NotPermitted {
        /// This process's user id.
        ours: u32,
        /// The user id of the process at the other end.
        theirs: u32,
        /// Its user, group and groups, in words: where the users are the same, they differ
        /// in these.
        wanted: String,
    },
    /// The caller's user or one of its groups has no number in this process's user namespace,
    /// so the caller's rights cannot be told from those of others.
    #[error(
        "nothing was done as {wanted}: {what} {id} stands for every {what} without a number in this process's user namespace; map the caller's ids into the namespace, or run the server outside of it"
    )]
    Unmapped {
        /// `user` or `group`.
        what: &'static str,
        /// The number that the kernel shows for it.
        id: u32,
        /// The caller's user, group and groups, in words.
        wanted: String,
    },
    /// On this system nothing can be done as the user at the other end.
    #[error(
        "on Windows nothing can be done as the caller: clients let a server know who they are, and no more"
    )]
    Unsupported,
    /// The system refuses.
    #[error("{what}: {source}; nothing was done as the caller")]
    System {
        /// What did not work.
        what: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}
