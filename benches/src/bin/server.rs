//! The server of one run: `bench_server PEER WORK PLACE`.

use panpipe_benches::job::{Peer, Work};
use panpipe_benches::peers::{panpipe, panpipe_blocking, raw, remoc, tarpc};
use panpipe_benches::setting::{pin_as_told, runtime_as_told};

fn main() {
    pin_as_told();
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [peer, work, place] = args.as_slice() else { panic!("bench_server PEER WORK PLACE") };
    let peer: Peer = peer.parse().expect("a peer");
    let work: Work = work.parse().expect("a work");
    let runtime = runtime_as_told();
    match peer {
        Peer::RawSocket => raw::serve(place, work.size()),
        Peer::RawPipes => {
            let stdin = std::io::stdin();
            let stdout = std::io::stdout();
            use std::os::fd::AsFd;
            let clone = |fd: std::os::fd::BorrowedFd<'_>| {
                fd.try_clone_to_owned().expect("a pipe can be cloned").into()
            };
            raw::serve_pipes(clone(stdin.as_fd()), clone(stdout.as_fd()), work.size());
        }
        Peer::Panpipe => runtime.block_on(panpipe::serve(place, work)),
        Peer::PanpipeChild => runtime.block_on(panpipe::serve_parent()),
        Peer::PanpipeBlocking => panpipe_blocking::serve(place),
        Peer::PanpipeChildBlocking => panpipe_blocking::serve_parent(),
        Peer::TarpcVec => runtime.block_on(tarpc::serve_vec(place)),
        Peer::TarpcBytes => runtime.block_on(tarpc::serve_bytes(place)),
        Peer::TarpcVecOverPipe => runtime.block_on(tarpc::serve_vec_over_pipe(place)),
        Peer::TarpcBytesOverPipe => runtime.block_on(tarpc::serve_bytes_over_pipe(place)),
        Peer::Remoc => runtime.block_on(remoc::serve(place)),
    }
}
