//! Who is at the other end of a pipe.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::sys;

/// The process at the other end of a pipe, as far as the system tells.
///
/// For a named pipe the system vouches for all of it, as of the moment when the
/// connection was made; to a client, who its server was when it began to listen.
///
/// **A uid does not change**, and neither do a gid and the groups: what is written here
/// stays true of who connected. **A pid can be used again** for another process once its
/// own has ended, so never look a peer up by its pid. The methods here do not: they ask by
/// a pidfd, which the system gives for the socket and which never means another process.
///
/// What is asked costs a few system calls, and nothing before it is asked. It can be
/// asked as long as the connection stands.
#[derive(Clone)]
#[non_exhaustive]
pub struct Peer {
    /// The process id.
    pub pid: Option<u32>,
    /// The user id; none on Windows, and none of a user that has no number in this process's
    /// user namespace: the kernel shows all of those as one number, which is of no use.
    pub uid: Option<u32>,
    /// The group id; none on Windows.
    pub gid: Option<u32>,
    /// What the system can be asked further, as long as the connection stands.
    pub(crate) connected: sys::Connected,
}

impl Peer {
    /// A peer of which nothing is known.
    #[must_use]
    pub const fn unknown() -> Self {
        Peer { pid: None, uid: None, gid: None, connected: sys::Connected::NOTHING }
    }

    /// This very process.
    #[must_use]
    pub fn this_process() -> Self {
        sys::this_process()
    }

    /// A child of this process that nobody has waited for: for the stream to it, see
    /// [`PipeStream::with_peer`](crate::PipeStream::with_peer).
    ///
    /// The user and the group are those that it was started as, on Unix; none of them if
    /// there is no such child.
    #[must_use]
    pub fn child(pid: u32) -> Self {
        sys::child_process(pid)
    }

    /// The supplementary groups that the process had when it connected, in no
    /// particular order. Its [`gid`](Self::gid) may be among them or not.
    ///
    /// # Errors
    ///
    /// `NotConnected` when the connection has ended; `Unsupported` for an unknown peer,
    /// a child, and on Windows.
    pub fn groups(&self) -> io::Result<Vec<u32>> {
        self.connected.groups()
    }

    /// The name of the user, by its [`uid`](Self::uid).
    ///
    /// It may block: the system may ask name services over a network. In a handler call it
    /// by tokio's `spawn_blocking`.
    ///
    /// # Errors
    ///
    /// `NotFound` when this machine knows no such user; `Unsupported` when nothing is
    /// known of the user, and on Windows.
    pub fn user_name(&self) -> io::Result<String> {
        let unknown = || io::Error::new(io::ErrorKind::Unsupported, "the user at the other end is not known");
        sys::user_name(self.uid.ok_or_else(unknown)?)
    }

    /// The program that the process runs now, with ` (deleted)` behind it when its file
    /// is gone, as Linux says it.
    ///
    /// It is read by the pid, and then the pidfd is asked whether the process still
    /// lives: if it does, the pid meant it all the while. What it tells is good for a log
    /// and for a look at the version, and is no proof of who called: a process may run
    /// another program by the time you ask, and the path is as this process sees it.
    ///
    /// # Errors
    ///
    /// `NotFound` when the process has ended, `NotConnected` when the connection has;
    /// `PermissionDenied` when the system does not let this user see it, as is so for
    /// another user's process if this is not root; `Unsupported` for an unknown peer,
    /// before Linux 6.5, and on Windows.
    pub fn executable(&self) -> io::Result<PathBuf> {
        self.connected.executable()
    }

    /// Whether the process has not ended, by its pidfd. Its connection can outlive it,
    /// in the hands of a child of its own.
    ///
    /// # Errors
    ///
    /// `NotConnected` when the connection has ended; `Unsupported` for an unknown peer,
    /// before Linux 6.5, and on Windows.
    pub fn is_running(&self) -> io::Result<bool> {
        self.connected.is_running()
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        (self.pid, self.uid, self.gid) == (other.pid, other.uid, other.gid)
    }
}

impl Eq for Peer {}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("pid", &self.pid)
            .field("uid", &self.uid)
            .field("gid", &self.gid)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, self.uid) {
            (Some(pid), Some(uid)) => write!(f, "process {pid} of user {uid}"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, Some(uid)) => write!(f, "a process of user {uid}"),
            (None, None) => f.write_str("an unknown process"),
        }
    }
}
