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
    /// panpipe over a named pipe, without a runtime.
    PanpipeBlocking,
    /// panpipe over anonymous pipes, without a runtime.
    PanpipeChildBlocking,
    /// Stock tarpc over its own Unix transport, `Vec<u8>` as serde takes it.
    TarpcVec,
    /// Stock tarpc over its own Unix transport, with a bytes type.
    TarpcBytes,
    /// Stock tarpc over panpipe-transport, `Vec<u8>` as serde takes it.
    TarpcVecOverPipe,
    /// Stock tarpc over panpipe-transport, with a bytes type.
    TarpcBytesOverPipe,
    /// remoc over a Unix socket.
    Remoc,
}

/// All peers, in the order of the table's columns.
pub const PEERS: [(Peer, &str); 11] = [
    (Peer::RawSocket, "raw-socket"),
    (Peer::RawPipes, "raw-pipes"),
    (Peer::Panpipe, "panpipe"),
    (Peer::PanpipeChild, "panpipe-child"),
    (Peer::PanpipeBlocking, "panpipe-blocking"),
    (Peer::PanpipeChildBlocking, "panpipe-child-blocking"),
    (Peer::TarpcVec, "tarpc-vec"),
    (Peer::TarpcVecOverPipe, "tarpc-vec-over-pipe"),
    (Peer::TarpcBytes, "tarpc-bytes"),
    (Peer::TarpcBytesOverPipe, "tarpc-bytes-over-pipe"),
    (Peer::Remoc, "remoc"),
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
    /// One stream from server to client of items of 64 bytes, then of 64 KiB: items
    /// a second, then MiB a second.
    Items,
    /// One caller, 64-byte echo, beside another that echoes 64 MiB on the same
    /// connection: the time of a small call.
    Beside,
    /// A child started, and its first 64-byte echo: the time of both.
    Spawn,
}

/// All works, in the order of the table's rows.
pub const WORKS: [(Work, &str); 9] = [
    (Work::RoundTrip, "w1"),
    (Work::Callers, "w2"),
    (Work::Bulk, "w3"),
    (Work::Connections, "w4"),
    (Work::Connect, "w5"),
    (Work::Idle, "w6"),
    (Work::Items, "w7"),
    (Work::Beside, "w8"),
    (Work::Spawn, "w9"),
];

/// The size of a small call's payload, in bytes.
pub const SMALL: usize = 64;
/// The size of a large call's payload, in bytes.
pub const LARGE: usize = 1 << 20;
/// The size of a stream's large item, in bytes.
pub const BLOCK: usize = 64 << 10;
/// The size of the payload that small calls are made beside, in bytes.
pub const HUGE: usize = 64 << 20;

impl Work {
    /// The size of this work's payload.
    pub fn size(self) -> usize {
        if self == Work::Bulk { LARGE } else { SMALL }
    }
}

impl Peer {
    /// Whether the peer can do the work.
    pub fn can(self, work: Work) -> bool {
        let is_blocking = matches!(self, Peer::PanpipeBlocking | Peer::PanpipeChildBlocking);
        match work {
            Work::RoundTrip | Work::Callers | Work::Bulk => true,
            _ if is_blocking => false,
            // What has no name has one connection.
            Work::Connections | Work::Connect | Work::Idle => !self.is_child(),
            Work::Items => self.streams(),
            Work::Spawn => self.is_child(),
            // The bare kernel has no messages that could pass each other, and
            // `panpipe::serve_parent` takes no limits that let so large ones in.
            Work::Beside => !matches!(self, Peer::RawSocket | Peer::RawPipes | Peer::PanpipeChild),
        }
    }

    /// Whether the peer has streams.
    fn streams(self) -> bool {
        matches!(self, Peer::Panpipe | Peer::PanpipeChild | Peer::Remoc)
    }

    /// Whether the server is the client's child.
    pub fn is_child(self) -> bool {
        matches!(self, Peer::RawPipes | Peer::PanpipeChild | Peer::PanpipeChildBlocking)
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
