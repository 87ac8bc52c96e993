//! The server of one run: `peer_server PEER WORK PLACE`.

use panpipe_bench_peers::{capnp, iceoryx2, ipc_channel, jsonrpsee, remoc, tarpc, tonic, ttrpc, zbus, zlink};
use panpipe_benches::job::Job;
use panpipe_benches::peer::Peer;
use panpipe_benches::setting;

fn main() {
    setting::start();
    let job = Job::from_args();
    let place = job.place.as_str();
    let runtime = setting::runtime();
    match job.peer {
        Peer::TarpcVec => runtime.block_on(tarpc::serve_vec(place)),
        Peer::TarpcVecOverPipe => runtime.block_on(tarpc::serve_vec_over_pipe(place)),
        Peer::TarpcBytes => runtime.block_on(tarpc::serve_bytes(place)),
        Peer::TarpcBytesOverPipe => runtime.block_on(tarpc::serve_bytes_over_pipe(place)),
        Peer::Tonic => runtime.block_on(tonic::serve(&job)),
        Peer::Remoc => runtime.block_on(remoc::serve(place)),
        Peer::IpcChannel => ipc_channel::serve(place),
        Peer::Jsonrpsee => runtime.block_on(jsonrpsee::serve(&job)),
        Peer::Capnp => runtime.block_on(capnp::serve(place)),
        Peer::Zlink => runtime.block_on(zlink::serve(place)),
        Peer::Zbus => runtime.block_on(zbus::serve(place)),
        Peer::Ttrpc => runtime.block_on(ttrpc::serve(place)),
        Peer::Iceoryx2 | Peer::Iceoryx2Busy => iceoryx2::serve(&job),
        _ => unreachable!("that one is not of this package"),
    }
}
