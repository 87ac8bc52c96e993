//! Where bypasses have not been tried there are none.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use rustix::net::RecvFlags;

use super::WriteHalf;

/// Whether there are any.
pub(super) const EXIST: bool = false;

pub(super) fn pass<R>(
    _: &OwnedFd,
    _: &[u8],
    _: impl FnOnce(OwnedFd) -> io::Result<R>,
) -> io::Result<(R, WriteHalf)> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn reopened(_: &OwnedFd, _: OFlags) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing is passed on.
#[derive(Debug)]
pub(super) enum Taken {}

impl Taken {
    pub(super) fn none_yet() -> Option<Box<Self>> {
        None
    }

    pub(super) fn read(&mut self, _: &OwnedFd, _: &mut [u8], _: RecvFlags) -> rustix::io::Result<usize> {
        match *self {}
    }

    pub(super) fn take_up<R>(self, _: impl FnOnce(OwnedFd) -> io::Result<R>) -> io::Result<(R, WriteHalf)> {
        match self {}
    }
}
