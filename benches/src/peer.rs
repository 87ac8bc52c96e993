//! Who does the work.

use std::str::FromStr;

use crate::job::Work;
use crate::setting::Setting;

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The memory alone: one copy of a message, in one process.
    Memcpy,
    /// Blocking reads and writes on two anonymous pipes.
    RawPipes,
    /// The same, and whoever waits looks for a while before it sleeps.
    RawPipesSpin,
    /// Two anonymous pipes in tokio's event loop.
    TokioPipes,
    /// The same, and whoever waits lets others run for a while before it sleeps.
    TokioPipesSpin,
    /// Blocking reads and writes on a Unix socket; many connections with epoll.
    RawSocket,
    /// The same, and whoever waits looks for a while before it sleeps.
    RawSocketSpin,
    /// A Unix socket in tokio's event loop.
    TokioSocket,
    /// The same, and whoever waits lets others run for a while before it sleeps.
    TokioSocketSpin,
    /// panpipe over a named pipe.
    Panpipe,
    /// panpipe over anonymous pipes.
    PanpipeChild,
    /// panpipe over a named pipe, with a bytes type, which large messages share.
    PanpipeBytes,
    /// The same over anonymous pipes.
    PanpipeChildBytes,
    /// panpipe over a named pipe, without a runtime on either side.
    PanpipeBlocking,
    /// panpipe over anonymous pipes, without a runtime on either side.
    PanpipeChildBlocking,
    /// Stock tarpc over its own Unix transport, `Vec<u8>` as serde takes it.
    TarpcVec,
    /// Stock tarpc over panpipe-transport, `Vec<u8>` as serde takes it.
    TarpcVecOverPipe,
    /// Stock tarpc over its own Unix transport, with a bytes type.
    TarpcBytes,
    /// Stock tarpc over panpipe-transport, with a bytes type.
    TarpcBytesOverPipe,
    /// tonic (gRPC) over a Unix socket.
    Tonic,
    /// remoc over a Unix socket.
    Remoc,
    /// ipc-channel, which is blocking.
    IpcChannel,
    /// jsonrpsee, WebSocket over a Unix socket.
    Jsonrpsee,
    /// capnp-rpc over a Unix socket.
    Capnp,
    /// zlink (Varlink) over a Unix socket.
    Zlink,
    /// zbus (D-Bus) from peer to peer, over a Unix socket.
    Zbus,
    /// ttrpc over a Unix socket.
    Ttrpc,
    /// iceoryx2's requests in shared memory, woken by its events.
    Iceoryx2,
    /// The same, and whoever waits looks without end.
    Iceoryx2Busy,
}

/// All peers, in the order of the table's columns.
pub const PEERS: [(Peer, &str); 29] = [
    (Peer::Memcpy, "memcpy"),
    (Peer::RawPipes, "raw-pipes"),
    (Peer::RawPipesSpin, "raw-pipes-spin"),
    (Peer::TokioPipes, "tokio-pipes"),
    (Peer::TokioPipesSpin, "tokio-pipes-spin"),
    (Peer::RawSocket, "raw-socket"),
    (Peer::RawSocketSpin, "raw-socket-spin"),
    (Peer::TokioSocket, "tokio-socket"),
    (Peer::TokioSocketSpin, "tokio-socket-spin"),
    (Peer::Panpipe, "panpipe"),
    (Peer::PanpipeChild, "panpipe-child"),
    (Peer::PanpipeBytes, "panpipe-bytes"),
    (Peer::PanpipeChildBytes, "panpipe-child-bytes"),
    (Peer::PanpipeBlocking, "panpipe-blocking"),
    (Peer::PanpipeChildBlocking, "panpipe-child-blocking"),
    (Peer::TarpcVec, "tarpc-vec"),
    (Peer::TarpcVecOverPipe, "tarpc-vec-over-pipe"),
    (Peer::TarpcBytes, "tarpc-bytes"),
    (Peer::TarpcBytesOverPipe, "tarpc-bytes-over-pipe"),
    (Peer::Tonic, "tonic"),
    (Peer::Remoc, "remoc"),
    (Peer::IpcChannel, "ipc-channel"),
    (Peer::Jsonrpsee, "jsonrpsee"),
    (Peer::Capnp, "capnp-rpc"),
    (Peer::Zlink, "zlink"),
    (Peer::Zbus, "zbus"),
    (Peer::Ttrpc, "ttrpc"),
    (Peer::Iceoryx2, "iceoryx2"),
    (Peer::Iceoryx2Busy, "iceoryx2-busy"),
];

/// What a peer is to a reader of the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The bare system, which has no calls: what nobody can pass.
    Floor,
    /// This project.
    Panpipe,
    /// Another framework.
    Other,
}

impl Peer {
    /// Its name in arguments, tables and charts.
    pub fn name(self) -> &'static str {
        PEERS.iter().find(|(peer, _)| *peer == self).map(|(_, name)| *name).expect("all peers have names")
    }

    /// What it is.
    pub fn kind(self) -> Kind {
        match self {
            Peer::Memcpy | Peer::RawPipes | Peer::RawPipesSpin | Peer::TokioPipes | Peer::TokioPipesSpin => {
                Kind::Floor
            }
            Peer::RawSocket | Peer::RawSocketSpin | Peer::TokioSocket | Peer::TokioSocketSpin => Kind::Floor,
            Peer::Panpipe | Peer::PanpipeChild | Peer::PanpipeBytes | Peer::PanpipeChildBytes => {
                Kind::Panpipe
            }
            Peer::PanpipeBlocking | Peer::PanpipeChildBlocking => Kind::Panpipe,
            _ => Kind::Other,
        }
    }

    /// Whether the server is the client's child, at its standard streams.
    pub fn is_child(self) -> bool {
        matches!(
            self,
            Peer::RawPipes
                | Peer::RawPipesSpin
                | Peer::TokioPipes
                | Peer::TokioPipesSpin
                | Peer::PanpipeChild
                | Peer::PanpipeChildBytes
                | Peer::PanpipeChildBlocking
        )
    }

    /// Whether it is there for large payloads alone.
    fn is_for_bulk(self) -> bool {
        matches!(self, Peer::PanpipeBytes | Peer::PanpipeChildBytes)
    }

    /// Whether there is no second process.
    pub fn is_alone(self) -> bool {
        self == Peer::Memcpy
    }

    /// Whether it is measured so.
    pub fn is_taken(self, setting: Setting) -> bool {
        match setting {
            // Who looks there takes the processor from who is waited for.
            Setting::OneCpu => !self.spins(),
            Setting::AllCpus => true,
            Setting::ManyThreads => {
                matches!(
                    self,
                    Peer::Panpipe
                        | Peer::PanpipeChild
                        | Peer::PanpipeBytes
                        | Peer::PanpipeChildBytes
                        | Peer::TarpcVec
                        | Peer::TarpcVecOverPipe
                )
            }
        }
    }

    /// Whether it is there for what looking, instead of sleeping, gives.
    pub fn spins(self) -> bool {
        matches!(
            self,
            Peer::RawPipesSpin
                | Peer::TokioPipesSpin
                | Peer::RawSocketSpin
                | Peer::TokioSocketSpin
                | Peer::Iceoryx2Busy
        )
    }

    /// Whether it has streams.
    fn streams(self) -> bool {
        matches!(
            self,
            Peer::Panpipe
                | Peer::PanpipeChild
                | Peer::PanpipeBlocking
                | Peer::PanpipeChildBlocking
                | Peer::Remoc
                | Peer::Tonic
                | Peer::Ttrpc
                | Peer::IpcChannel
        )
    }

    /// Whether a small call can be made while a huge one is under way, however long
    /// it then takes.
    fn takes_huge_calls(self) -> bool {
        // `panpipe::serve_parent` takes no limits that let so large ones in, ttrpc has
        // a fixed limit of 4 MiB, and where replies come in the order of the calls
        // (zlink, ipc-channel, iceoryx2's slices) there is nothing to measure.
        matches!(
            self,
            Peer::Panpipe
                | Peer::TarpcVec
                | Peer::TarpcVecOverPipe
                | Peer::TarpcBytes
                | Peer::TarpcBytesOverPipe
                | Peer::Tonic
                | Peer::Remoc
                | Peer::Capnp
        )
    }

    /// How many connections it stands in one process.
    fn most_connections(self) -> usize {
        match self {
            // What has no name has one connection.
            _ if self.is_child() || self.is_alone() => 1,
            // One thread for each connection.
            Peer::IpcChannel | Peer::PanpipeBlocking => 1000,
            // Each connection is eight tasks, and takes a second to set up 1,000.
            Peer::Remoc => 1000,
            // It has no connections: its clients are ports of one service, with shared
            // memory of each, which a server looks at in turn.
            Peer::Iceoryx2 | Peer::Iceoryx2Busy => 1,
            _ => 10_000,
        }
    }

    /// How many calls it can have under way on one connection.
    fn most_calls(self) -> usize {
        match self {
            _ if self.kind() == Kind::Floor => 0,
            Peer::IpcChannel | Peer::Iceoryx2 | Peer::Iceoryx2Busy => 0,
            // One thread for each caller.
            Peer::PanpipeBlocking | Peer::PanpipeChildBlocking => 1000,
            Peer::Remoc => 1000,
            _ => 10_000,
        }
    }

    /// Whether it can do the work.
    pub fn can(self, work: Work) -> bool {
        match work {
            Work::Bulk => true,
            // Small payloads are the same as others.
            _ if self.is_alone() || self.is_for_bulk() => false,
            Work::RoundTrip | Work::Callers => true,
            Work::Connections(count) => self.most_connections() >= count,
            Work::InFlight(count) => self.most_calls() >= count,
            Work::Connect | Work::Idle => self.most_connections() > 1,
            Work::Items => self.streams(),
            Work::Spawn => matches!(self, Peer::RawPipes | Peer::PanpipeChild),
            Work::Beside => self.takes_huge_calls(),
        }
    }
}

/// The word names no peer.
#[derive(Debug)]
pub struct Unknown;

impl FromStr for Peer {
    type Err = Unknown;

    fn from_str(word: &str) -> Result<Self, Unknown> {
        PEERS.iter().find(|(_, name)| *name == word).map(|(peer, _)| *peer).ok_or(Unknown)
    }
}
