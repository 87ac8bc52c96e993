//! Why a connection ended.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::error::{CallError, Refusal, RefusalReason};

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    Local,
    /// The other side closed it, or its process has ended.
    Closed,
    /// Nothing had passed over it for as long as
    /// [`Limits::idle_timeout`](crate::Limits::idle_timeout) says.
    Idle,
    /// The stream ended in the middle of a message.
    Truncated,
    /// The other side took the connection and did not answer this side's hello in time: it is
    /// stopped, busy, or no server of panpipe's.
    NoHello {
        /// The process at the other end, in words.
        peer: String,
        /// How long this side waited: [`Limits::handshake_timeout`](crate::Limits), or the
        /// shorter wait that the connection was to be made within.
        within: Duration,
    },
    /// One side turned the other down at the hello.
    Refused(Refusal),
    /// The other side broke the protocol, in this way.
    Protocol(String),
    /// The other side says that this one broke the protocol, in this way.
    ByPeer(String),
    /// Reading or writing failed.
    Io(String),
}

impl CloseReason {
    /// What an I/O error means for the connection.
    pub(crate) fn lost(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
                CloseReason::Closed
            }
            _ => CloseReason::Io(error.to_string()),
        }
    }

    /// What a call learns that was not sent.
    pub(crate) fn unsent(&self) -> CallError {
        match self {
            CloseReason::Refused(refusal) => CallError::Refused(refusal.clone()),
            CloseReason::NoHello { peer, within } => {
                CallError::NoHello { peer: peer.clone(), within: *within, sent: false }
            }
            _ => CallError::Disconnected { sent: false },
        }
    }

    /// What a call learns that was sent and has no reply.
    pub(crate) fn sent(&self) -> CallError {
        match self {
            CloseReason::Refused(refusal) => CallError::Refused(refusal.clone()),
            CloseReason::NoHello { peer, within } => {
                CallError::NoHello { peer: peer.clone(), within: *within, sent: true }
            }
            _ => CallError::Disconnected { sent: true },
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Local => f.write_str("this side closed the connection"),
            CloseReason::Closed => {
                f.write_str("the other side closed the connection, or its process has ended")
            }
            CloseReason::Idle => f.write_str("nothing had passed over the connection for some time"),
            CloseReason::Truncated => f.write_str("the stream ended in the middle of a message"),
            CloseReason::NoHello { peer, within } => {
                write!(f, "{peer} took the connection and did not answer the hello within {within:?}")
            }
            CloseReason::Refused(refusal) => write!(f, "the connection was refused: {refusal}"),
            CloseReason::Protocol(why) => write!(f, "the other side broke the protocol: {why}"),
            CloseReason::ByPeer(why) => write!(f, "the other side closed the connection: {why}"),
            CloseReason::Io(why) => write!(f, "reading or writing failed: {why}"),
        }
    }
}

impl RefusalReason {
    /// The byte that stands for the reason in a refusal.
    pub(crate) fn code(self) -> u8 {
        match self {
            RefusalReason::NotPanpipe => 0,
            RefusalReason::ProtocolVersion => 1,
            RefusalReason::Codec => 2,
            RefusalReason::Service => 3,
            RefusalReason::ServiceVersion => 4,
            RefusalReason::NotAllowed => 5,
            RefusalReason::Overloaded => 6,
            RefusalReason::Draining => 7,
            RefusalReason::Layer => 8,
            RefusalReason::TooManyPorts => 9,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<RefusalReason> {
        Some(match code {
            0 => RefusalReason::NotPanpipe,
            1 => RefusalReason::ProtocolVersion,
            2 => RefusalReason::Codec,
            3 => RefusalReason::Service,
            4 => RefusalReason::ServiceVersion,
            5 => RefusalReason::NotAllowed,
            6 => RefusalReason::Overloaded,
            7 => RefusalReason::Draining,
            8 => RefusalReason::Layer,
            9 => RefusalReason::TooManyPorts,
            _ => return None,
        })
    }
}
