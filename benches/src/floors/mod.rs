//! The bare system: what the same bytes cost without calls, which nobody can pass.
//!
//! Blocking and in tokio's event loop, over two anonymous pipes and over a Unix
//! socket. Those that spin look again for a while before they sleep. There are no
//! calls that could be many on one connection: where there are many callers, 64
//! messages go in one write, which is the most that a framework can make of them.

use std::process::{Child, Command, Stdio};

use rustix::fd::OwnedFd;

use crate::job::{Job, Work, report};
use crate::peer::Peer;
use crate::setting::runtime;

mod blocking;
mod ends;
mod epoll;
mod in_tokio;
mod memcpy;
mod sys;

/// Messages that are written at once where there are many callers.
const BATCH: usize = 64;

/// Serves until the process is killed, or its standard input ends.
pub fn serve(job: &Job) {
    let spins = job.peer.spins();
    match job.peer {
        Peer::RawPipes | Peer::RawPipesSpin => blocking::serve_pipes(own_pipes(), job.work, spins),
        Peer::TokioPipes | Peer::TokioPipesSpin => {
            runtime().block_on(in_tokio::serve_pipes(own_pipes(), job.work, spins));
        }
        Peer::RawSocket | Peer::RawSocketSpin if job.work.connections() > 1 => {
            epoll::serve(&job.place, spins);
        }
        Peer::RawSocket | Peer::RawSocketSpin => blocking::serve(&job.place, job.work, spins),
        Peer::TokioSocket | Peer::TokioSocketSpin => {
            runtime().block_on(in_tokio::serve(&job.place, job.work, spins));
        }
        _ => unreachable!("that is no floor"),
    }
}

/// Does the work and reports.
pub fn run(job: &Job) {
    let spins = job.peer.spins();
    let figures = match job.peer {
        Peer::Memcpy => memcpy::run(),
        Peer::RawPipes | Peer::RawPipesSpin => {
            let (mut child, read, write) = spawn(job);
            let figures = blocking::run_pipes(job.work, read, write, spins);
            child.wait().expect("the server ends");
            figures
        }
        Peer::TokioPipes | Peer::TokioPipesSpin => {
            let (mut child, read, write) = spawn(job);
            let figures = runtime().block_on(in_tokio::run_pipes(job.work, read, write, spins));
            child.wait().expect("the server ends");
            figures
        }
        Peer::RawSocket | Peer::RawSocketSpin => match job.work {
            Work::Connections(count) => epoll::run(&job.place, count, spins),
            work => blocking::run(work, &job.place, spins),
        },
        Peer::TokioSocket | Peer::TokioSocketSpin => {
            runtime().block_on(in_tokio::run(job.work, &job.place, spins))
        }
        _ => unreachable!("that is no floor"),
    };
    report(&figures);
}

/// This process's standard streams.
fn own_pipes() -> (OwnedFd, OwnedFd) {
    use rustix::fd::AsFd;
    let clone = |fd: rustix::fd::BorrowedFd<'_>| fd.try_clone_to_owned().expect("a pipe can be cloned");
    (clone(std::io::stdin().as_fd()), clone(std::io::stdout().as_fd()))
}

/// The server as a child, and the pipes from and to it.
fn spawn(job: &Job) -> (Child, OwnedFd, OwnedFd) {
    let mut command = Command::new(&job.server);
    command.args([job.peer.name(), job.work.name(), "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the server runs");
    let read = child.stdout.take().expect("it is piped").into();
    let write = child.stdin.take().expect("it is piped").into();
    (child, read, write)
}
