//! Where the loss of a name is not told, because the system has no inotify.

use std::os::fd::OwnedFd;

use super::directory::Entry;

/// There is none.
#[derive(Debug)]
pub(super) enum LossWatch {}

impl LossWatch {
    pub(super) fn new(_: &Entry) -> Option<Self> {
        None
    }

    pub(super) async fn event(&self) {
        match *self {}
    }
}

/// There is none.
#[derive(Debug)]
pub(super) enum BlockingLossWatch {}

impl BlockingLossWatch {
    pub(super) fn new(_: &Entry) -> Option<Self> {
        None
    }

    pub(super) fn descriptor(&self) -> &OwnedFd {
        match *self {}
    }

    pub(super) fn clear(&self) {
        match *self {}
    }
}
