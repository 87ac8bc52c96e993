//! FIFOs, which this system has not.
//!
//! A pipe that is only read is not the same: each of its writers takes an instance
//! of its own, so that there is no one stream for them all, and no program can write
//! to it as to a file.

use std::future::Future;
use std::io;

use super::{Place, ReadHalf, WriteHalf};
use crate::error::{BindError, ConnectError};

/// As much as a record may have.
pub(crate) const ATOMIC: usize = crate::limits::RECORD;

/// The right to a FIFO's name: there is none.
#[derive(Debug)]
pub(crate) enum FifoName {}

impl FifoName {
    pub(crate) fn event(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        std::future::pending()
    }

    pub(crate) fn is_lost(&self) -> bool {
        match *self {}
    }

    pub(crate) fn bind_again(self) -> Result<(ReadHalf, HeldEnd, FifoName), BindError> {
        match self {}
    }
}

/// The end that keeps a FIFO from ending with its last writer: there is none.
#[derive(Debug)]
pub(crate) enum HeldEnd {}

/// Fails.
pub(crate) fn bind_fifo(place: &Place) -> Result<(ReadHalf, HeldEnd, FifoName), BindError> {
    Err(BindError::Io { path: place.to_string(), source: unsupported() })
}

/// Fails.
pub(crate) fn open_fifo(place: &Place) -> Result<WriteHalf, ConnectError> {
    Err(ConnectError::Io { path: place.to_string(), source: unsupported() })
}

fn unsupported() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "there are no FIFOs on Windows; serve the one-way service under a name as any other",
    )
}
