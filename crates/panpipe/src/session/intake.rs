//! What has come in of a connection and has not been dealt with, and where more comes
//! from.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use panpipe_transport::buffer::Inbox;

use super::close::CloseReason;
use super::message::Header;
use super::outlet::Inlet;

/// The reading side of a connection.
pub(super) struct Intake {
    pub(super) inlet: Inlet,
    pub(super) inbox: Inbox,
    pub(super) magic_seen: bool,
    /// The frame that is being read straight to where it, or the message that it is
    /// a part of, is put together.
    pub(super) diverted: Option<Header>,
    /// What the stream ended or failed with; nothing more is read.
    pub(super) end: Option<Box<CloseReason>>,
    /// Whether frames that have come had to wait.
    pub(super) held_up: bool,
}

impl Intake {
    pub(super) fn new(inlet: Inlet) -> Self {
        let (magic_seen, diverted, end, held_up) = (false, None, None, false);
        Intake { inlet, inbox: Inbox::default(), magic_seen, diverted, end, held_up }
    }

    /// Whether a thread that waits reads, before the driver is polled.
    #[inline]
    pub(super) fn is_blocking(&self) -> bool {
        matches!(self.inlet, Inlet::Blocking(_))
    }

    /// Reads once, into the inbox.
    #[inline]
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.inbox.poll_fill(cx, Pin::new(&mut self.inlet))
    }

    /// Notes what has been read: frames that are to be taken, or the end.
    #[inline]
    pub(super) fn has_read(&mut self, read: io::Result<usize>) {
        match read {
            Ok(0) => {
                self.end = Some(Box::new(match self.inbox.eof() {
                    Ok(()) => CloseReason::Closed,
                    Err(_) => CloseReason::Truncated,
                }));
            }
            Ok(_) => self.held_up = true,
            Err(error) => self.end = Some(Box::new(CloseReason::lost(&error))),
        }
    }
}
