//! The same in tokio's event loop, as well as it can be done there.
//!
//! Ends are registered for reading alone: a socket that is registered for both wakes
//! its owner each time its peer reads. Who has to wait to write registers a second
//! time, for that long. A read that comes back short has left nothing, so the next
//! one waits first. Reads and writes are plain system calls.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::fd::OwnedFd;
use rustix::io::{Errno, ioctl_fionbio, read, write};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;
use tokio::sync::Mutex;

use super::BATCH;
use super::ends::{SPIN, make_roomy};
use super::sys::watch::watch;
use crate::job::{SMALL, Work, ready};
use crate::setting::{warm_up, window};
use crate::work;

/// An end that is read and one that is written.
struct Ends {
    read: AsyncFd<OwnedFd>,
    /// Where it is not the same as the one that is read.
    write: Option<OwnedFd>,
    spins: bool,
}

impl Ends {
    fn new(read: OwnedFd, write: Option<OwnedFd>, work: Work, spins: bool) -> Ends {
        for end in [Some(&read), write.as_ref()].into_iter().flatten() {
            ioctl_fionbio(end, true).expect("it can be made not to block");
            if work == Work::Bulk {
                make_roomy(end);
            }
        }
        let read = watch(read, Interest::READABLE).expect("it can be watched");
        Ends { read, write, spins }
    }

    fn socket(connection: UnixStream, work: Work, spins: bool) -> Ends {
        Ends::new(connection.into(), None, work, spins)
    }

    fn written(&self) -> &OwnedFd {
        self.write.as_ref().unwrap_or(self.read.get_ref())
    }

    /// Reads what there is; zero at the end.
    async fn read(&self, buffer: &mut [u8]) -> usize {
        if self.spins {
            let start = Instant::now();
            while start.elapsed() < SPIN {
                match read(self.read.get_ref(), &mut *buffer) {
                    Err(Errno::AGAIN) => tokio::task::yield_now().await,
                    done => return done.unwrap_or(0),
                }
            }
        }
        loop {
            let mut guard = self.read.readable().await.expect("the event loop runs");
            match read(self.read.get_ref(), &mut *buffer) {
                Err(Errno::AGAIN) => guard.clear_ready(),
                Ok(count) if count < buffer.len() => {
                    guard.clear_ready();
                    return count;
                }
                done => return done.unwrap_or(0),
            }
        }
    }

    /// Fills the first bytes of the buffer, and reads no more than what has come with
    /// them; whether there was enough.
    async fn read_at_least(&self, least: usize, buffer: &mut [u8]) -> bool {
        let mut filled = 0;
        while filled < least {
            match self.read(&mut buffer[filled..]).await {
                0 => return false,
                count => filled += count,
            }
        }
        true
    }

    /// Writes all; whether somebody reads.
    async fn write_all(&self, mut buffer: &[u8]) -> bool {
        while !buffer.is_empty() {
            match write(self.written(), buffer) {
                Ok(count) => buffer = &buffer[count..],
                Err(Errno::AGAIN) => self.writable().await.expect("it can be watched"),
                Err(_) => return false,
            }
        }
        true
    }

    async fn writable(&self) -> io::Result<()> {
        let end = watch(self.written().try_clone()?, Interest::WRITABLE)?;
        let _ = end.writable().await?;
        Ok(())
    }
}

/// Echoes on every connection of a socket.
pub(super) async fn serve(path: &str, work: Work, spins: bool) {
    let listener = UnixListener::bind(path).expect("the path is free");
    ready();
    while let Ok((connection, _)) = listener.accept().await {
        let connection = connection.into_std().expect("it leaves the event loop");
        tokio::spawn(async move { echo(&Ends::socket(connection, work, spins), work).await });
    }
}

/// Echoes on two pipes, to their end.
pub(super) async fn serve_pipes((read, write): (OwnedFd, OwnedFd), work: Work, spins: bool) {
    echo(&Ends::new(read, Some(write), work, spins), work).await;
}

async fn echo(ends: &Ends, work: Work) {
    let size = work.size();
    let most = if work == Work::Callers { BATCH } else { 1 };
    // The byte more is what makes a read come back short.
    let mut buffer = vec![0; size * most + 1];
    loop {
        let count = ends.read(&mut buffer).await;
        let whole = count.div_ceil(size) * size;
        if whole == 0
            || !ends.read_at_least(whole - count, &mut buffer[count..]).await
            || !ends.write_all(&buffer[..whole]).await
        {
            return;
        }
    }
}

/// A connection of the client's, with one caller at a time.
struct Connection {
    ends: Ends,
    received: Mutex<Vec<u8>>,
}

impl Connection {
    fn new(ends: Ends, work: Work) -> Connection {
        Connection { ends, received: Mutex::new(vec![0; work.size() + 1]) }
    }
}

impl work::Echo for Connection {
    type Payload = Vec<u8>;

    async fn echo(&self, mut payload: Vec<u8>) -> Vec<u8> {
        let mut received = self.received.lock().await;
        assert!(self.ends.write_all(&payload).await, "the server reads");
        assert!(self.ends.read_at_least(payload.len(), &mut received).await, "the server writes");
        let size = payload.len();
        payload.copy_from_slice(&received[..size]);
        payload
    }
}

/// Does the work over a socket.
pub(super) async fn run(work: Work, path: &str, spins: bool) -> Vec<f64> {
    let connect = || Ends::socket(UnixStream::connect(path).expect("the server listens"), work, spins);
    match work {
        Work::Callers => at_once(&connect()).await,
        work => work::run(work, || async { Connection::new(connect(), work) }).await,
    }
}

/// Does the work over two pipes.
pub(super) async fn run_pipes(work: Work, read: OwnedFd, write: OwnedFd, spins: bool) -> Vec<f64> {
    let ends = Ends::new(read, Some(write), work, spins);
    if work == Work::Callers {
        return at_once(&ends).await;
    }
    // There is one connection, and each of these works asks for one.
    let ends = std::cell::Cell::new(Some(ends));
    let connect = || {
        let ends = ends.take().expect("one connection is asked for");
        async { Connection::new(ends, work) }
    };
    work::run(work, connect).await
}

/// Many messages in one write, again and again.
async fn at_once(ends: &Ends) -> Vec<f64> {
    let sent = vec![7; SMALL * BATCH];
    let mut received = vec![0; SMALL * BATCH + 1];
    let (mut start, mut calls, mut warm) = (Instant::now(), 0, false);
    loop {
        assert!(ends.write_all(&sent).await, "the server reads");
        assert!(ends.read_at_least(sent.len(), &mut received).await, "the server writes");
        calls += BATCH;
        if !warm && start.elapsed() >= warm_up() {
            (warm, start, calls) = (true, Instant::now(), 0);
        } else if warm && start.elapsed() >= window() {
            return vec![calls as f64 / start.elapsed().as_secs_f64() / 1000.0];
        }
    }
}
