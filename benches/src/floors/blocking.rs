//! One thread that reads, writes and sleeps in the system.

use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use rustix::fd::OwnedFd;

use super::BATCH;
use super::ends::{Ends, make_roomy};
use crate::blocking_work::{idle, rate, time_calls};
use crate::job::{SMALL, Work, ready};
use crate::stats::median;

/// Echoes on one connection after the other.
pub(super) fn serve(path: &str, work: Work, spins: bool) {
    let listener = UnixListener::bind(path).expect("the path is free");
    ready();
    while let Ok((connection, _)) = listener.accept() {
        echo(&socket(connection, work, spins), work.size());
    }
}

/// Echoes on two pipes, to their end.
pub(super) fn serve_pipes((read, write): (OwnedFd, OwnedFd), work: Work, spins: bool) {
    echo(&Ends::new(read, write, spins), work.size());
}

fn echo(ends: &Ends, size: usize) {
    let mut buffer = vec![0; size * BATCH];
    loop {
        let count = ends.read(&mut buffer);
        let whole = count.div_ceil(size) * size;
        if whole == 0 || !ends.read_exact(&mut buffer[count..whole]) || !ends.write_all(&buffer[..whole]) {
            return;
        }
    }
}

fn socket(connection: UnixStream, work: Work, spins: bool) -> Ends {
    let write = connection.try_clone().expect("a socket can be cloned").into();
    let read = connection.into();
    if work == Work::Bulk {
        [&read, &write].into_iter().for_each(make_roomy);
    }
    Ends::new(read, write, spins)
}

/// Does the work over a socket.
pub(super) fn run(work: Work, path: &str, spins: bool) -> Vec<f64> {
    let connect = || socket(UnixStream::connect(path).expect("the server listens"), work, spins);
    match work {
        Work::Connect => {
            let mut times = Vec::new();
            for _ in 0..300 {
                let start = Instant::now();
                let connection = connect();
                call(&connection, &[7; SMALL], &mut [0; SMALL]);
                times.push(start.elapsed().as_nanos() as f64 / 1000.0);
            }
            vec![median(&mut times)]
        }
        Work::Idle => {
            let connections: Vec<_> = (0..1000)
                .map(|_| {
                    let connection = connect();
                    call(&connection, &[7; SMALL], &mut [0; SMALL]);
                    connection
                })
                .collect();
            idle();
            drop(connections);
            Vec::new()
        }
        one_connection => run_one(one_connection, &connect()),
    }
}

/// Does the work over two pipes.
pub(super) fn run_pipes(work: Work, read: OwnedFd, write: OwnedFd, spins: bool) -> Vec<f64> {
    if work == Work::Bulk {
        [&read, &write].into_iter().for_each(make_roomy);
    }
    run_one(work, &Ends::new(read, write, spins))
}

fn call(ends: &Ends, sent: &[u8], received: &mut [u8]) {
    assert!(ends.write_all(sent) && ends.read_exact(received), "the server echoes");
}

/// Does the work of one connection.
fn run_one(work: Work, ends: &Ends) -> Vec<f64> {
    let size = if work == Work::Callers { SMALL * BATCH } else { work.size() };
    let (sent, mut received) = (vec![7; size], vec![0; size]);
    let call = || call(ends, &sent, &mut received);
    match work {
        Work::Bulk => vec![rate(call)],
        Work::Callers => vec![rate(call) * BATCH as f64 / 1000.0],
        _ => time_calls(call),
    }
}
