//! Who is at the other end of a pipe.

use std::fmt;

use crate::sys;

/// The process at the other end of a pipe, as far as the system tells.
///
/// For a named pipe the system vouches for all of it, as of the moment when the
/// connection was made. A pid can be used again once its process has ended.
#[derive(Clone)]
#[non_exhaustive]
pub struct Peer {
    /// The process id.
    pub pid: Option<u32>,
    /// The user id; none on Windows.
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
