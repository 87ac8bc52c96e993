//! How much the system holds of what has been written and not been read.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::net::sockopt::{set_socket_send_buffer_size, socket_send_buffer_size};

use super::half::Kind;
use crate::limits::{MUCH_HELD, ROOMY_PIPES, SHORT_PIPE, SHORT_SEND_BUFFER};
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
    /// The same as soon as there is less in it: it is told so before each write.
    NotYetLittle(usize),
}

impl Held {
    /// Whether little is held, or is to be.
    #[inline]
    pub(super) fn is_little(self) -> bool {
        matches!(self, Held::Little(_) | Held::NotYetLittle(_))
    }

    /// Whether it is as asked for.
    #[inline]
    pub(super) fn is(self, hold: Hold) -> bool {
        match hold {
            Hold::NotLittle => !self.is_little(),
            Hold::Much => self == Held::Much,
            Hold::Little => matches!(self, Held::Little(_)),
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
            (Hold::Little, Held::NotYetLittle(before)) => shrink(pipe, before),
            (Hold::Little, _) => shrink(pipe, pipe_size(pipe)),
            // While the system has no more to spare it is told so before each write.
            (_, Held::Little(before)) if before > 0 && !set_pipe_size(pipe, before) => self,
            (Hold::Much, _) => {
                if roomy.is_none() {
                    *roomy = Roomy::new();
                }
                if roomy.is_some() && (1..MUCH_HELD).contains(&pipe_size(pipe)) {
                    // Where it has no more to spare the pipe stays as it is.
                    set_pipe_size(pipe, MUCH_HELD);
                }
                Held::Much
            }
            (Hold::NotLittle, Held::Little(_) | Held::NotYetLittle(_)) => Held::Usual,
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

/// A pipe that holds little from here on, or once there is less in it.
fn shrink(pipe: BorrowedFd<'_>, before: usize) -> Held {
    if before <= SHORT_PIPE || set_pipe_size(pipe, SHORT_PIPE) {
        Held::Little(before)
    } else {
        Held::NotYetLittle(before)
    }
}

/// Nothing: it cannot be told how much to hold.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn pipe_size(pipe: BorrowedFd<'_>) -> usize {
    rustix::pipe::fcntl_getpipe_size(pipe).unwrap_or(0)
}

/// False: it stays as it is.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_pipe_size(pipe: BorrowedFd<'_>, size: usize) -> bool {
    rustix::pipe::fcntl_setpipe_size(pipe, size).is_ok()
}

/// Elsewhere a pipe grows by itself, and cannot be told.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn pipe_size(_: BorrowedFd<'_>) -> usize {
    0
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_pipe_size(_: BorrowedFd<'_>, _: usize) -> bool {
    true
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
        use rustix::pipe::{fcntl_getpipe_size, pipe};
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
        use rustix::pipe::{fcntl_getpipe_size, pipe};
        let (reader, writer) = pipe().unwrap();
        let size = || fcntl_getpipe_size(&writer).unwrap();
        let told = |held: Held, hold| held.told(writer.as_fd(), Kind::Pipe, hold, &mut None);
        let usual = size();
        let mut bytes = vec![7; usual / 2];
        assert_eq!(rustix::io::write(&writer, &bytes).unwrap(), bytes.len());
        let soon = told(Held::Usual, Hold::Little);
        assert_eq!((soon, size()), (Held::NotYetLittle(usual), usual));
        assert!(soon.is_little() && !soon.is(Hold::Little) && !soon.is(Hold::NotLittle));
        assert_eq!(told(soon, Hold::Little), soon);
        assert_eq!((told(soon, Hold::NotLittle), size()), (Held::Usual, usual));
        assert_eq!(rustix::io::read(&reader, &mut bytes).unwrap(), bytes.len());
        let little = told(soon, Hold::Little);
        assert_eq!((little, size() < usual), (Held::Little(usual), true));
        assert_eq!((told(little, Hold::NotLittle), size()), (Held::Usual, usual));
    }

    /// More than anybody may: like more than a user may who has many.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_pipe_that_cannot_hold_what_it_did_is_told_so_again() {
        use rustix::pipe::{fcntl_getpipe_size, pipe};
        let (_reader, writer) = pipe().unwrap();
        let (usual, mut roomy) = (fcntl_getpipe_size(&writer).unwrap(), None);
        let mut told = |held: Held, hold| held.told(writer.as_fd(), Kind::Pipe, hold, &mut roomy);
        let little = told(Held::Usual, Hold::Little);
        assert_eq!(little, Held::Little(usual));
        let refused = Held::Little(usize::MAX);
        assert_eq!(told(refused, Hold::NotLittle), refused);
        assert_eq!(told(refused, Hold::Much), refused);
        assert!(!refused.is(Hold::NotLittle) && !refused.is(Hold::Much));
        assert_eq!(told(little, Hold::NotLittle), Held::Usual);
        assert_eq!(fcntl_getpipe_size(&writer).unwrap(), usual);
    }

    /// A file or a terminal in the place of a pipe.
    #[test]
    fn what_cannot_be_told_is_not_told_again() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let mut roomy = None;
        let mut told = |held: Held, hold| held.told(socket.as_fd(), Kind::Pipe, hold, &mut roomy);
        assert_eq!(told(Held::Usual, Hold::Little), Held::Little(0));
        assert_eq!(told(Held::Little(0), Hold::NotLittle), Held::Usual);
        assert_eq!(told(Held::Little(0), Hold::Much), Held::Much);
    }
}
