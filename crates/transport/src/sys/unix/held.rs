//! How much the system holds of what has been written and not been read.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::net::sockopt::{set_socket_send_buffer_size, socket_send_buffer_size};

use super::half::Kind;
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
        match (hold, self) {
            (Hold::Much, _) => {
                match kind {
                    Kind::Socket => set_size(fd, MUCH_HELD),
                    Kind::Pipe if roomy.is_none() => *roomy = make_roomy(fd),
                    Kind::Pipe => {}
                }
                Held::Much
            }
            // One that holds less would have to be empty first.
            (Hold::Little, _) if kind == Kind::Pipe => Held::Little(0),
            (Hold::Little, _) => {
                // Linux tells twice of what it was told.
                let before = socket_send_buffer_size(fd).map_or(0, |size| size / 2);
                set_size(fd, SHORT_SEND_BUFFER);
                Held::Little(before)
            }
            (Hold::NotLittle, Held::Little(before)) => {
                if kind == Kind::Socket && before > 0 {
                    set_size(fd, before);
                }
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

/// Who has no more to spare leaves the pipe as it is.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn make_roomy(pipe: BorrowedFd<'_>) -> Option<Roomy> {
    use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
    let roomy = Roomy::new()?;
    if fcntl_getpipe_size(pipe).is_ok_and(|size| size < MUCH_HELD) {
        let _ = fcntl_setpipe_size(pipe, MUCH_HELD);
    }
    Some(roomy)
}

/// Elsewhere a pipe grows by itself.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn make_roomy(_: BorrowedFd<'_>) -> Option<Roomy> {
    Roomy::new()
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
    fn a_pipe_holds_more_and_never_less_unless_there_are_many() {
        use rustix::pipe::{fcntl_getpipe_size, pipe};
        let (_reader, writer) = pipe().unwrap();
        let size = || fcntl_getpipe_size(&writer).unwrap();
        let (usual, mut roomy) = (size(), None);
        let mut told = |held: Held, hold| held.told(writer.as_fd(), Kind::Pipe, hold, &mut roomy);
        let little = told(Held::Usual, Hold::Little);
        assert_eq!((little.is_little(), size()), (true, usual));
        let much = told(little, Hold::Much);
        let most = size();
        assert_eq!((much, most > usual), (Held::Much, true), "{most}, before {usual}");
        assert_eq!(told(much, Hold::Little), Held::Little(0));
        assert_eq!(size(), most);
        assert!(roomy.is_some());
        // Places are given up with their pipes.
        let places: Vec<_> = (0..2 * ROOMY_PIPES).filter_map(|_| Roomy::new()).collect();
        assert!(places.len() < ROOMY_PIPES && Roomy::new().is_none());
        let (_reader, another) = pipe().unwrap();
        let mut none = None;
        Held::Usual.told(another.as_fd(), Kind::Pipe, Hold::Much, &mut none);
        assert_eq!((none.is_none(), fcntl_getpipe_size(&another).unwrap()), (true, usual));
        drop((places, roomy));
        assert!(Roomy::new().is_some());
    }
}
