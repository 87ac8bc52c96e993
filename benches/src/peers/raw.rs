//! The bare kernel: blocking system calls and nothing else.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;

use crate::job::{SMALL, Work};
use crate::stats::{median, quantile};

/// Frames that are written at once where there are many callers.
const BATCH: usize = 64;

const WINDOW: Duration = Duration::from_millis(400);

/// Echoes messages of a size on every connection of a socket.
pub fn serve(path: &str, size: usize) {
    let listener = UnixListener::bind(path).expect("the path is free");
    println!("ready");
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("there is an epoll");
    let flags = epoll::EventFlags::IN;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(0), flags).expect("it can be watched");
    let mut connections: Vec<Option<UnixStream>> = Vec::new();
    let mut buffer = vec![0; size * BATCH];
    let mut events = Vec::with_capacity(64);
    loop {
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None).expect("waiting works");
        for event in events.drain(..) {
            let key = event.data.u64() as usize;
            if key == 0 {
                let (connection, _) = listener.accept().expect("a client comes");
                connections.push(Some(connection));
                let data = epoll::EventData::new_u64(connections.len() as u64);
                epoll::add(
                    &poll,
                    connections[connections.len() - 1].as_ref().expect("it was just put there"),
                    data,
                    flags,
                )
                .expect("it can be watched");
            } else if let Some(connection) = &mut connections[key - 1] {
                if !echo_once(connection, &mut buffer, size) {
                    connections[key - 1] = None;
                }
            }
        }
    }
}

/// Echoes on two pipes, to their end.
pub fn serve_pipes(mut read: File, mut write: File, size: usize) {
    let mut buffer = vec![0; size * BATCH];
    loop {
        let Ok(n @ 1..) = read.read(&mut buffer) else { return };
        let whole = n.div_ceil(size) * size;
        if read.read_exact(&mut buffer[n..whole]).is_err() || write.write_all(&buffer[..whole]).is_err() {
            return;
        }
    }
}

fn echo_once(connection: &mut UnixStream, buffer: &mut [u8], size: usize) -> bool {
    let Ok(n @ 1..) = connection.read(buffer) else { return false };
    let whole = n.div_ceil(size) * size;
    connection.read_exact(&mut buffer[n..whole]).is_ok() && connection.write_all(&buffer[..whole]).is_ok()
}

/// Does the work over a socket.
pub fn run(work: Work, path: &str) -> Vec<f64> {
    let connect = || UnixStream::connect(path).expect("the server listens");
    match work {
        Work::Connections => {
            let mut connections: Vec<_> = (0..100).map(|_| connect()).collect();
            let (start, mut calls) = (Instant::now(), 0u64);
            let mut buffer = [7; SMALL];
            while start.elapsed() < WINDOW {
                for connection in &mut connections {
                    connection.write_all(&buffer).expect("the server reads");
                }
                for connection in &mut connections {
                    connection.read_exact(&mut buffer).expect("the server writes");
                }
                calls += 100;
            }
            vec![calls as f64 / start.elapsed().as_secs_f64() / 1000.0]
        }
        Work::Connect => {
            let mut times = Vec::new();
            let mut buffer = [7; SMALL];
            for _ in 0..300 {
                let start = Instant::now();
                let mut connection = connect();
                connection.write_all(&buffer).expect("the server reads");
                connection.read_exact(&mut buffer).expect("the server writes");
                times.push(start.elapsed().as_nanos() as f64 / 1000.0);
            }
            vec![median(&mut times)]
        }
        Work::Idle => {
            let connections: Vec<_> = (0..1000).map(|_| connect()).collect();
            println!("idle");
            let _ = std::io::stdin().read(&mut [0]);
            drop(connections);
            Vec::new()
        }
        one_connection => {
            let mut connection = connect();
            let mut other = connection.try_clone().expect("a socket can be cloned");
            run_one(one_connection, &mut connection, &mut other)
        }
    }
}

/// Does the work of one connection.
pub fn run_one(work: Work, read: &mut impl Read, write: &mut (impl Write + Send)) -> Vec<f64> {
    let size = if work == Work::Callers { SMALL * BATCH } else { work.size() };
    let (sent, mut received) = (vec![7; size], vec![0; size]);
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < WINDOW {
        let call = Instant::now();
        if size > 4096 {
            // More than a pipe holds has to be read while it is written.
            std::thread::scope(|scope| {
                scope.spawn(|| write.write_all(&sent).expect("the server reads"));
                read.read_exact(&mut received).expect("the server writes");
            });
        } else {
            write.write_all(&sent).expect("the server reads");
            read.read_exact(&mut received).expect("the server writes");
        }
        times.push(call.elapsed().as_nanos() as f64 / 1000.0);
    }
    let calls = times.len() as f64 / start.elapsed().as_secs_f64();
    match work {
        Work::Bulk => vec![calls],
        Work::Callers => vec![calls * BATCH as f64 / 1000.0],
        _ => vec![median(&mut times), quantile(&mut times, 0.99)],
    }
}
