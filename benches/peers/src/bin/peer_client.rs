//! The client of one run: `peer_client PEER WORK PLACE`. Prints its figures on one
//! line.

use panpipe_bench_peers::{capnp, iceoryx2, ipc_channel, jsonrpsee, remoc, tarpc, tonic, ttrpc, zbus, zlink};
use panpipe_benches::job::{Job, report};
use panpipe_benches::peer::Peer;
use panpipe_benches::work::run;
use panpipe_benches::{blocking_work, setting};

fn main() {
    setting::start();
    let job = Job::from_args();
    let (work, place) = (job.work, job.place.as_str());
    let runtime = setting::runtime();
    let figures = match job.peer {
        Peer::TarpcVec => runtime.block_on(run(work, || tarpc::connect_vec(place, work))),
        Peer::TarpcVecOverPipe => runtime.block_on(run(work, || tarpc::connect_vec_over_pipe(place, work))),
        Peer::TarpcBytes => runtime.block_on(run(work, || tarpc::connect_bytes(place, work))),
        Peer::TarpcBytesOverPipe => {
            runtime.block_on(run(work, || tarpc::connect_bytes_over_pipe(place, work)))
        }
        Peer::Tonic => runtime.block_on(run(work, || tonic::connect(place))),
        Peer::Remoc => runtime.block_on(run(work, || remoc::connect(place))),
        Peer::IpcChannel => blocking_work::run(work, || ipc_channel::connect(place, work)),
        Peer::Jsonrpsee => runtime.block_on(run(work, || jsonrpsee::connect(place, work))),
        Peer::Capnp => runtime.block_on(run(work, || capnp::connect(place))),
        Peer::Zlink => runtime.block_on(run(work, || zlink::connect(place, work))),
        Peer::Zbus => runtime.block_on(run(work, || zbus::connect(place))),
        Peer::Ttrpc => runtime.block_on(run(work, || ttrpc::connect(place))),
        Peer::Iceoryx2 | Peer::Iceoryx2Busy => iceoryx2::run(&job),
        _ => unreachable!("that one is not of this package"),
    };
    report(&figures);
}
