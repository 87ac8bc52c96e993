//! Where there is no epoll the event loop is always told.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// There is none.
#[derive(Debug)]
pub(super) enum Gate {}

impl Gate {
    pub(super) fn new(_: &OwnedFd) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn descriptor(&self) -> &Arc<OwnedFd> {
        match *self {}
    }

    pub(super) fn close(&mut self, _: &OwnedFd) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn open(&mut self, _: &OwnedFd) -> io::Result<bool> {
        match *self {}
    }

    pub(super) fn is_empty(&mut self) {
        match *self {}
    }
}
