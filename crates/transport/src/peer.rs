//! Who is at the other end of a pipe.

use std::fmt;

use crate::sys;

/// The process at the other end of a pipe, as far as the system tells.
///
/// For a named pipe the system vouches for all of it, as of the moment when the
/// connection was made. A pid can be used again once its process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Peer {
    /// The process id.
    pub pid: Option<u32>,
    /// The user id; none on Windows.
    pub uid: Option<u32>,
    /// The group id; none on Windows.
    pub gid: Option<u32>,
}

impl Peer {
    /// A peer of which nothing is known.
    #[must_use]
    pub const fn unknown() -> Self {
        Peer { pid: None, uid: None, gid: None }
    }

    /// This very process.
    #[must_use]
    pub fn this_process() -> Self {
        sys::this_process()
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
