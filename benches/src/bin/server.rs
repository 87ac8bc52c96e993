//! The server of one run: `bench_server PEER WORK PLACE`.

use panpipe_benches::job::Job;
use panpipe_benches::peer::Peer;
use panpipe_benches::{floors, panpipe, panpipe_blocking, setting};

fn main() {
    setting::start();
    let job = Job::from_args();
    match job.peer {
        Peer::Panpipe | Peer::PanpipeBytes => {
            setting::runtime().block_on(panpipe::serve(&job.place, job.work))
        }
        Peer::PanpipeChild | Peer::PanpipeChildBytes => setting::runtime().block_on(panpipe::serve_parent()),
        Peer::PanpipeBlocking => panpipe_blocking::serve(&job.place, job.work),
        Peer::PanpipeChildBlocking => panpipe_blocking::serve_parent(),
        _ => floors::serve(&job),
    }
}
