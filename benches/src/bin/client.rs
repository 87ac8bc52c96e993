//! The client of one run: `bench_client PEER WORK PLACE SERVER`. Prints its
//! figures on one line.

use std::process::{Command, Stdio};

use panpipe_benches::job::{Peer, Work};
use panpipe_benches::peers::{panpipe, panpipe_blocking, raw, remoc, tarpc};
use panpipe_benches::setting::{pin_as_told, runtime_as_told};
use panpipe_benches::spawn;
use panpipe_benches::work;

fn main() {
    pin_as_told();
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [peer, work, place, server] = args.as_slice() else { panic!("bench_client PEER WORK PLACE SERVER") };
    let (peer_word, work_word) = (peer, work);
    let peer: Peer = peer.parse().expect("a peer");
    let work: Work = work.parse().expect("a work");
    let runtime = runtime_as_told();
    let command = || {
        let mut child = Command::new(server);
        child.args([peer_word, work_word, "-"]);
        child
    };
    let mut child = command();
    let figures = match peer {
        _ if work == Work::Spawn => runtime.block_on(spawn::run(peer, command)),
        Peer::RawSocket => raw::run(work, place),
        Peer::RawPipes => {
            let mut child =
                child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the server runs");
            let mut write = child.stdin.take().expect("it is piped");
            let mut read = child.stdout.take().expect("it is piped");
            let figures = raw::run_one(work, &mut read, &mut write);
            drop((read, write));
            child.wait().expect("the server ends");
            figures
        }
        Peer::Panpipe => runtime.block_on(work::run(work, || panpipe::connect(place, work))),
        Peer::PanpipeChild => runtime.block_on(async {
            let child = ::panpipe::spawn(child).start::<panpipe::EchoClient>().expect("the server runs");
            work::run(work, || async { child.client().clone() }).await
        }),
        Peer::PanpipeBlocking => panpipe_blocking::run(work, &panpipe_blocking::connect(place)),
        Peer::PanpipeChildBlocking => {
            let child = ::panpipe::spawn(child).start_blocking::<panpipe::EchoClient>();
            panpipe_blocking::run(work, child.expect("the server runs").client())
        }
        Peer::TarpcVec => runtime.block_on(work::run(work, || tarpc::connect_vec(place))),
        Peer::TarpcBytes => runtime.block_on(work::run(work, || tarpc::connect_bytes(place))),
        Peer::TarpcVecOverPipe => runtime.block_on(work::run(work, || tarpc::connect_vec_over_pipe(place))),
        Peer::TarpcBytesOverPipe => {
            runtime.block_on(work::run(work, || tarpc::connect_bytes_over_pipe(place)))
        }
        Peer::Remoc => runtime.block_on(work::run(work, || remoc::connect(place))),
    };
    let figures: Vec<_> = figures.iter().map(ToString::to_string).collect();
    println!("{}", figures.join(" "));
}
