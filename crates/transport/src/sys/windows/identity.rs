//! Who is at the other end: the system tells the process, and is not asked more yet.

use std::io;
use std::path::PathBuf;
use std::thread;

use crate::error::ImpersonateError;
use crate::peer::Peer;

/// This process.
pub(crate) fn this_process() -> Peer {
    child_process(std::process::id())
}

/// Groups have no numbers here.
pub(crate) fn may_be_unmapped_group(_: u32) -> bool {
    false
}

/// Its user has no number.
pub(crate) fn this_user() -> Option<u32> {
    None
}

/// A child of this process.
pub(crate) fn child_process(pid: u32) -> Peer {
    Peer { pid: Some(pid), uid: None, gid: None, connected: Connected::NOTHING }
}

/// Nothing more can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Connected;

impl Connected {
    /// There is nothing to be asked.
    pub(crate) const NOTHING: Connected = Connected;

    pub(crate) fn groups(&self) -> io::Result<Vec<u32>> {
        Err(unsupported("the groups of a peer are not told on Windows"))
    }

    pub(crate) fn executable(&self) -> io::Result<PathBuf> {
        Err(unsupported("the program of a peer is not told on Windows"))
    }

    pub(crate) fn is_running(&self) -> io::Result<bool> {
        Err(unsupported("whether a peer still runs is not told on Windows"))
    }

    /// There are none to act by: clients connect at identification level.
    pub(crate) fn credentials(&self) -> Result<Credentials, ImpersonateError> {
        Err(ImpersonateError::Unsupported)
    }
}

/// Users have no numbers on Windows.
pub(crate) fn user_name(_: u32) -> io::Result<String> {
    Err(unsupported("the name of a peer's user is not told on Windows"))
}

fn unsupported(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}

/// As whom a process may do what it does: there are none.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {}

impl Credentials {
    pub(crate) fn uid(&self) -> u32 {
        match *self {}
    }
}

pub(crate) fn run_as<T>(
    caller: &Credentials,
    _: impl FnOnce() -> T,
) -> Result<thread::Result<T>, ImpersonateError> {
    match *caller {}
}
