//! What is measured in one run: by whom which work is done.

use std::str::FromStr;

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Blocking reads and writes on a Unix socket.
    RawSocket,
    /// Blocking reads and writes on two anonymous pipes.
    RawPipes,
    /// panpipe over a named pipe.
    Panpipe,
    /// panpipe over anonymous pipes.
    PanpipeChild,
    /// Stock tarpc over its own Unix transport, `Vec<u8>` as serde takes it.
    TarpcVec,
    /// Stock tarpc over its own Unix transport, with a bytes type.
    TarpcBytes,
    /// Stock tarpc over panpipe-transport, `Vec<u8>` as serde takes it.
    TarpcVecOverPipe,
    /// Stock tarpc over panpipe-transport, with a bytes type.
    TarpcBytesOverPipe,
}

/// All peers, in the order of the table's columns.
pub const PEERS: [(Peer, &str); 8] = [
    (Peer::RawSocket, "raw-socket"),
    (Peer::RawPipes, "raw-pipes"),
    (Peer::Panpipe, "panpipe"),
    (Peer::PanpipeChild, "panpipe-child"),
    (Peer::TarpcVec, "tarpc-vec"),
    (Peer::TarpcVecOverPipe, "tarpc-vec-over-pipe"),
    (Peer::TarpcBytes, "tarpc-bytes"),
    (Peer::TarpcBytesOverPipe, "tarpc-bytes-over-pipe"),
];

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// One caller, 64-byte echo: the time of a call.
    RoundTrip,
    /// 64 callers on one connection, 64-byte echo: calls a second.
    Callers,
    /// 1 MiB echo: MiB a second.
    Bulk,
    /// 100 connections with one call outstanding each: calls a second.
    Connections,
    /// Connect and first call: the time of both.
    Connect,
    /// 1,000 idle connections: the server's memory for each.
    Idle,
}

/// All works, in the order of the table's rows.
pub const WORKS: [(Work, &str); 6] = [
    (Work::RoundTrip, "w1"),
    (Work::Callers, "w2"),
    (Work::Bulk, "w3"),
    (Work::Connections, "w4"),
    (Work::Connect, "w5"),
    (Work::Idle, "w6"),
];

/// The size of a small call's payload, in bytes.
pub const SMALL: usize = 64;
/// The size of a large call's payload, in bytes.
pub const LARGE: usize = 1 << 20;

impl Work {
    /// The size of this work's payload.
    pub fn size(self) -> usize {
        if self == Work::Bulk { LARGE } else { SMALL }
    }
}

impl Peer {
    /// Whether the peer can do the work: what has no name has one connection.
    pub fn can(self, work: Work) -> bool {
        let one_connection = matches!(work, Work::RoundTrip | Work::Callers | Work::Bulk);
        !self.is_child() || one_connection
    }

    /// Whether the server is the client's child.
    pub fn is_child(self) -> bool {
        matches!(self, Peer::RawPipes | Peer::PanpipeChild)
    }
}

/// The argument is none of these words.
#[derive(Debug)]
pub struct Unknown;

impl FromStr for Peer {
    type Err = Unknown;

    fn from_str(word: &str) -> Result<Self, Unknown> {
        PEERS.iter().find(|(_, name)| *name == word).map(|(peer, _)| *peer).ok_or(Unknown)
    }
}

impl FromStr for Work {
    type Err = Unknown;

    fn from_str(word: &str) -> Result<Self, Unknown> {
        WORKS.iter().find(|(_, name)| *name == word).map(|(work, _)| *work).ok_or(Unknown)
    }
}
