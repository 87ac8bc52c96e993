//! The client of one run: `bench_client PEER WORK PLACE SERVER`. Prints its
//! figures on one line.

use std::process::Command;

use panpipe_benches::job::{Job, Work, report};
use panpipe_benches::peer::Peer;
use panpipe_benches::{blocking_work, floors, panpipe, panpipe_blocking, setting, spawn, work};

fn main() {
    setting::start();
    let job = Job::from_args();
    let (name, place) = (job.work, &job.place);
    let child = || {
        let mut child = Command::new(&job.server);
        child.args([job.peer.name(), name.name(), "-"]);
        child
    };
    let runtime = setting::runtime();
    let figures = match job.peer {
        peer if name == Work::Spawn => runtime.block_on(spawn::run(peer, child)),
        Peer::Panpipe => runtime.block_on(work::run(name, || panpipe::connect(place, name))),
        Peer::PanpipeBytes => runtime.block_on(work::run(name, || async {
            panpipe::BytesClient(panpipe::connect(place, name).await)
        })),
        Peer::PanpipeChild => runtime.block_on(async {
            let child = ::panpipe::spawn(child()).start::<panpipe::EchoClient>().expect("the server runs");
            work::run(name, || async { child.client().clone() }).await
        }),
        Peer::PanpipeChildBytes => runtime.block_on(async {
            let child = ::panpipe::spawn(child()).start::<panpipe::EchoClient>().expect("the server runs");
            work::run(name, || async { panpipe::BytesClient(child.client().clone()) }).await
        }),
        Peer::PanpipeBlocking => blocking_work::run(name, || panpipe_blocking::connect(place, name)),
        Peer::PanpipeChildBlocking => {
            let child = ::panpipe::spawn(child()).start_blocking::<panpipe::EchoClient>();
            let child = child.expect("the server runs");
            blocking_work::run(name, || child.client().clone())
        }
        _ => return floors::run(&job),
    };
    report(&figures);
}
