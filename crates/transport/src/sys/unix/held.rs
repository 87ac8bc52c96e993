//! How much the system holds of what has been written and not been read.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::net::sockopt::{set_socket_send_buffer_size, socket_send_buffer_size};
#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};

use super::half::Kind;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::limits::SHORT_PIPE;
use crate::limits::{MUCH_HELD, ROOMY_PIPES, SHORT_SEND_BUFFER};
use crate::stream::Hold;

/// What the system was last told. What it cannot be told stays as it is: it is a matter
/// of speed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Held {
    /// Nothing: it holds what it does by itself.
    #[default]
    Usual,
    Much,
    /// Little; before that it held so much.
    Little(usize),
}

impl Held {
    /// Whether little is held.
    #[inline]
    pub(super) fn is_little(self) -> bool {
        matches!(self, Held::Little(_))
    }

    /// Whether it is as asked for.
    #[inline]
    pub(super) fn is(self, hold: Hold) -> bool {
        match hold {
            Hold::NotLittle => !self.is_little(),
            Hold::Much => self == Held::Much,
            Hold::Little => self.is_little(),
        }
    }

    /// Tells the system. Gives what it has been told then.
    #[cold]
    pub(super) fn told(self, fd: BorrowedFd<'_>, kind: Kind, hold: Hold, roomy: &mut Option<Roomy>) -> Held {
        match kind {
            Kind::Socket => self.told_socket(fd, hold),
            Kind::Pipe => self.told_pipe(fd, hold, roomy),
        }
    }

    fn told_socket(self, socket: BorrowedFd<'_>, hold: Hold) -> Held {
        match (hold, self) {
            (Hold::Much, _) => {
                set_size(socket, MUCH_HELD);
                Held::Much
            }
            (Hold::Little, _) => {
                // Linux tells twice of what it was told.
                let before = socket_send_buffer_size(socket).map_or(0, |size| size / 2);
                set_size(socket, SHORT_SEND_BUFFER);
                Held::Little(before)
            }
            (Hold::NotLittle, Held::Little(before)) => {
                if before > 0 {
                    set_size(socket, before);
                }
                Held::Usual
            }
            (Hold::NotLittle, held) => held,
        }
    }

    fn told_pipe(self, pipe: BorrowedFd<'_>, hold: Hold, roomy: &mut Option<Roomy>) -> Held {
        match (hold, self) {
            (Hold::Much, _) => {
                if roomy.is_none() {
                    *roomy = Roomy::new();
                }
                match self {
                    _ if roomy.is_some() => grow(pipe, MUCH_HELD),
                    Held::Little(before) => set_pipe_size(pipe, before),
                    Held::Usual | Held::Much => {}
                }
                Held::Much
            }
            // One that holds more at this moment is told so again before the next write.
            (Hold::Little, _) => shrink(pipe).map_or(self, Held::Little),
            (Hold::NotLittle, Held::Little(before)) => {
                set_pipe_size(pipe, before);
                Held::Usual
            }
            (Hold::NotLittle, held) => held,
        }
    }
}

fn set_size(socket: BorrowedFd<'_>, size: usize) {
    let _ = set_socket_send_buffer_size(socket, size);
}

/// A pipe's place among those of this process that hold much.
///
/// The memory is taken as bytes are written, but counts against the user at once: who has
/// too much of it gets new pipes of a page, in other programs too.
#[derive(Debug)]
pub(super) struct Roomy(());

static ROOMY: AtomicUsize = AtomicUsize::new(0);

impl Roomy {
    /// A place, if there is one.
    fn new() -> Option<Roomy> {
        let before = ROOMY.fetch_add(1, Ordering::Relaxed);
        let roomy = Roomy(());
        (before < ROOMY_PIPES).then_some(roomy)
    }
}

impl Drop for Roomy {
    fn drop(&mut self) {
        ROOMY.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn grow(pipe: BorrowedFd<'_>, size: usize) {
    if fcntl_getpipe_size(pipe).is_ok_and(|now| now < size) {
        set_pipe_size(pipe, size);
    }
}

/// Where the system has no more to spare the pipe stays as it is.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_pipe_size(pipe: BorrowedFd<'_>, size: usize) {
    let _ = fcntl_setpipe_size(pipe, size);
}

/// Gives how much the pipe held before, unless there is too much in it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn shrink(pipe: BorrowedFd<'_>) -> Option<usize> {
    let before = fcntl_getpipe_size(pipe).ok()?;
    if before > SHORT_PIPE {
        fcntl_setpipe_size(pipe, SHORT_PIPE).ok()?;
    }
    Some(before)
}

/// Elsewhere a pipe grows by itself.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn grow(_: BorrowedFd<'_>, _: usize) {}

/// Elsewhere a pipe stays as it is.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_pipe_size(_: BorrowedFd<'_>, _: usize) {}

/// Elsewhere a pipe stays as it is.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn shrink(_: BorrowedFd<'_>) -> Option<usize> {
    Some(0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_holds_little_or_much_and_again_what_it_did() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let size = || socket_send_buffer_size(&socket).unwrap();
        let told = |held: Held, hold| held.told(socket.as_fd(), Kind::Socket, hold, &mut None);
        let usual = size();
        let little = told(Held::Usual, Hold::Little);
        assert!(little.is(Hold::Little) && !little.is(Hold::NotLittle) && !little.is(Hold::Much));
        assert!(size() < usual);
        let again = told(little, Hold::NotLittle);
        assert_eq!((again, size()), (Held::Usual, usual));
        let much = told(again, Hold::Much);
        assert!(much.is(Hold::Much) && much.is(Hold::NotLittle) && !much.is(Hold::Little));
        let most = size();
        // As much as the system allows everybody, which is no less than what it does itself.
        assert!(most >= usual);
        let again = told(told(much, Hold::Little), Hold::NotLittle);
        assert_eq!((again.is(Hold::NotLittle), size()), (true, most));
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_pipe_holds_more_unless_there_are_many() {
        use rustix::pipe::pipe;
        let (_reader, writer) = pipe().unwrap();
        let size = || fcntl_getpipe_size(&writer).unwrap();
        let (usual, mut roomy) = (size(), None);
        let mut told = |held: Held, hold| held.told(writer.as_fd(), Kind::Pipe, hold, &mut roomy);
        let much = told(Held::Usual, Hold::Much);
        let most = size();
        assert_eq!((much, most > usual), (Held::Much, true), "{most}, before {usual}");
        let little = told(much, Hold::Little);
        assert_eq!((little, size() < usual), (Held::Little(most), true));
        assert_eq!((told(little, Hold::NotLittle), size()), (Held::Usual, most));
        assert!(roomy.is_some());
        // Places are given up with their pipes.
        let places: Vec<_> = (0..2 * ROOMY_PIPES).filter_map(|_| Roomy::new()).collect();
        assert!(places.len() < ROOMY_PIPES && Roomy::new().is_none());
        let (_reader, another) = pipe().unwrap();
        let mut none = None;
        let mut told = |held: Held, hold| held.told(another.as_fd(), Kind::Pipe, hold, &mut none);
        let little = told(Held::Usual, Hold::Little);
        let much = told(little, Hold::Much);
        assert_eq!((much, fcntl_getpipe_size(&another).unwrap()), (Held::Much, usual));
        assert!(none.is_none());
        drop((places, roomy));
        assert!(Roomy::new().is_some());
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_pipe_holds_little_once_there_is_little_in_it() {
        use rustix::pipe::pipe;
        let (reader, writer) = pipe().unwrap();
        let size = || fcntl_getpipe_size(&writer).unwrap();
        let told = |held: Held, hold| held.told(writer.as_fd(), Kind::Pipe, hold, &mut None);
        let usual = size();
        let mut bytes = [7; 32 << 10];
        assert_eq!(rustix::io::write(&writer, &bytes).unwrap(), bytes.len());
        assert_eq!((told(Held::Usual, Hold::Little), size()), (Held::Usual, usual));
        assert_eq!(rustix::io::read(&reader, &mut bytes).unwrap(), bytes.len());
        let little = told(Held::Usual, Hold::Little);
        assert_eq!((little, size() < usual), (Held::Little(usual), true));
        assert_eq!((told(little, Hold::NotLittle), size()), (Held::Usual, usual));
    }
}
