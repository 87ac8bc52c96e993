//! One thread with many connections.

use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, read, write};

use super::ends::SPIN;
use crate::job::{SMALL, ready};
use crate::memory;
use crate::setting::{warm_up, window};

/// Connections that are known to be readable at once.
const EVENTS: usize = 1024;

struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    spins: bool,
}

impl Poll {
    fn new(spins: bool) -> Poll {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("there is an epoll");
        Poll { epoll, events: Vec::with_capacity(EVENTS), spins }
    }

    fn add(&self, source: impl rustix::fd::AsFd, key: usize) {
        let data = epoll::EventData::new_u64(key as u64);
        epoll::add(&self.epoll, source, data, epoll::EventFlags::IN).expect("it can be watched");
    }

    /// Waits, and gives the keys of what is readable.
    fn wait(&mut self) -> impl Iterator<Item = usize> + '_ {
        let start = Instant::now();
        self.events.clear();
        while self.events.is_empty() {
            let looks = self.spins && start.elapsed() < SPIN;
            let timeout = looks.then_some(Timespec::default());
            match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("waiting works: {error}"),
            }
        }
        self.events.drain(..).map(|event| event.data.u64() as usize)
    }
}

/// Echoes small messages on every connection of a socket.
pub(super) fn serve(path: &str, spins: bool) {
    let listener = UnixListener::bind(path).expect("the path is free");
    ready();
    let mut poll = Poll::new(spins);
    poll.add(&listener, 0);
    let mut connections: Vec<Option<UnixStream>> = vec![None];
    let mut accepted = Vec::new();
    let mut buffer = [0; SMALL];
    loop {
        for key in poll.wait() {
            if key == 0 {
                accepted.push(listener.accept().expect("a client comes").0);
            } else if let Some(connection) = &connections[key] {
                // A small message comes in one piece.
                match read(connection, &mut buffer) {
                    Ok(count @ 1..) if write(connection, &buffer[..count]).is_ok() => {}
                    _ => connections[key] = None,
                }
            }
        }
        for connection in accepted.drain(..) {
            poll.add(&connection, connections.len());
            connections.push(Some(connection));
        }
    }
}

/// Keeps one call outstanding on each of so many connections: each reply is answered
/// by the next call at once. All calls written and then all replies read, in step,
/// are fewer: by a tenth on one processor, by half on two.
pub(super) fn run(path: &str, count: usize, spins: bool) -> Vec<f64> {
    let before = memory::resident(std::process::id());
    let mut poll = Poll::new(spins);
    let mut buffer = [7; SMALL];
    let connections: Vec<_> = (0..count)
        .map(|key| {
            let connection = UnixStream::connect(path).expect("the server listens");
            // One that the server has not taken yet would have the next refused.
            assert_eq!(write(&connection, &buffer), Ok(SMALL));
            assert_eq!(read(&connection, &mut buffer), Ok(SMALL));
            poll.add(&connection, key);
            connection
        })
        .collect();
    for connection in &connections {
        assert_eq!(write(connection, &buffer), Ok(SMALL));
    }
    let mut calls_in = |time: Duration| {
        let (start, mut calls) = (Instant::now(), 0u64);
        while start.elapsed() < time {
            for key in poll.wait() {
                assert_eq!(read(&connections[key], &mut buffer), Ok(SMALL));
                assert_eq!(write(&connections[key], &buffer), Ok(SMALL));
                calls += 1;
            }
        }
        calls as f64 / start.elapsed().as_secs_f64() / 1000.0
    };
    calls_in(warm_up());
    let rate = calls_in(window());
    vec![rate, (memory::peak(std::process::id()) - before) / count as f64]
}
