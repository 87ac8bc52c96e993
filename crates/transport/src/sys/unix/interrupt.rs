//! Ending the read that a thread is in, from another thread.
//!
//! A socket is shut down for reading. A pipe cannot be: a byte that belongs to nobody is written
//! to it, the **mark**, by an end opened anew, and the reader drops it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::OFlags;
use rustix::io::ioctl_fionread;
use rustix::net::{Shutdown, shutdown};

use super::bypass::reopened;
use super::half::Kind;

/// Ends what is read from a socket or a pipe. It does not keep that open: the threads of a
/// connection that has ended are held by every handle that is left of it.
#[derive(Debug)]
pub(crate) struct Interrupt {
    fd: Weak<OwnedFd>,
    kind: Kind,
    mark: Arc<Mark>,
}

/// What the reader of a pipe has to know.
#[derive(Debug, Default)]
pub(super) struct Mark {
    is_made: AtomicBool,
    /// Whether it is in the pipe: it cannot be without `/proc`, and need not be in a full pipe.
    is_there: Mutex<bool>,
}

impl Interrupt {
    pub(super) fn new(fd: &Arc<OwnedFd>, kind: Kind, mark: &Arc<Mark>) -> Self {
        Interrupt { fd: Arc::downgrade(fd), kind, mark: Arc::clone(mark) }
    }

    /// Whoever reads finds the end of the stream behind what has come.
    pub(crate) fn end_reading(&self) {
        let Some(fd) = self.fd.upgrade() else { return };
        match self.kind {
            Kind::Socket => {
                let _ = shutdown(&*fd, Shutdown::Read);
            }
            Kind::Pipe => self.mark.make(&fd),
        }
    }
}

impl Mark {
    fn make(&self, pipe: &OwnedFd) {
        let mut is_there = self.lock();
        if !self.is_made.swap(true, Ordering::SeqCst) {
            // The reader is here too: there is no signal that nobody reads.
            *is_there = reopened(pipe, OFlags::WRONLY)
                .is_ok_and(|end| rustix::io::write(end, &[0]).is_ok_and(|written| written == 1));
        }
    }

    /// Whether nothing is to be waited for.
    #[inline]
    pub(super) fn is_made(&self) -> bool {
        self.is_made.load(Ordering::SeqCst)
    }

    /// How many of the `read` bytes that have just been read belong to the stream.
    pub(super) fn stripped(&self, pipe: &OwnedFd, read: usize) -> usize {
        let mut is_there = self.lock();
        // It is the last that was written: whoever still held the other end is gone.
        let is_last = *is_there && read > 0 && ioctl_fionread(pipe) == Ok(0);
        *is_there &= !is_last;
        read - usize::from(is_last)
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use std::io::ErrorKind;
    use std::thread;

    use rustix::io::write;

    use super::super::blocking::BlockingRead;
    use crate::sys::pipe;

    /// Whoever else has the writing end: to the reader nothing comes any more.
    #[test]
    fn a_pipe_that_is_held_ends_behind_what_has_come() {
        for (has_come, room) in [(&b""[..], 8), (b"last words", 64), (b"last words", 10), (b"last words", 4)]
        {
            let (read, held) = pipe().unwrap();
            let mut reader = BlockingRead::new(read).unwrap();
            write(&held, has_come).unwrap();
            reader.interrupt().end_reading();
            // It is heard once.
            reader.interrupt().end_reading();
            let (mut all, mut bytes) = (Vec::new(), vec![0; room]);
            loop {
                match reader.read(&mut bytes).unwrap() {
                    0 => break,
                    n => all.extend_from_slice(&bytes[..n]),
                }
            }
            assert_eq!(all, has_come, "in reads of {room}");
            assert_eq!((reader.read(&mut bytes).unwrap(), reader.try_read(&mut bytes).unwrap()), (0, 0));
        }
    }

    #[test]
    fn a_thread_that_is_in_a_read_finds_the_end() {
        let (read, held) = pipe().unwrap();
        let mut reader = BlockingRead::new(read).unwrap();
        let interrupt = reader.interrupt();
        thread::scope(|scope| {
            let reads = scope.spawn(move || {
                let mut bytes = [0; 8];
                [reader.read(&mut bytes).unwrap(), reader.read(&mut bytes).unwrap()]
            });
            write(&held, b"word").unwrap();
            while rustix::io::ioctl_fionread(&held) != Ok(0) {
                thread::yield_now();
            }
            interrupt.end_reading();
            assert_eq!(reads.join().unwrap(), [4, 0]);
        });
    }

    #[test]
    fn a_full_pipe_is_read_to_its_end() {
        let (read, held) = pipe().unwrap();
        let mut reader = BlockingRead::new(read).unwrap();
        rustix::io::ioctl_fionbio(&held, true).unwrap();
        let mut held_bytes = 0;
        while let Ok(n) = write(&held, &[7; 4096]) {
            held_bytes += n;
        }
        reader.interrupt().end_reading();
        let mut bytes = [0; 5000];
        while held_bytes > 0 {
            let n = reader.read(&mut bytes).unwrap();
            assert!(n > 0 && bytes[..n].iter().all(|byte| *byte == 7));
            held_bytes -= n;
        }
        assert_eq!(reader.read(&mut bytes).unwrap(), 0);
    }

    #[test]
    fn what_has_no_end_yet_is_waited_for() {
        let (read, _held) = pipe().unwrap();
        let mut reader = BlockingRead::new(read).unwrap();
        let looked = reader.try_read(&mut [0; 8]).map_err(|error| error.kind());
        assert!(matches!(looked, Err(ErrorKind::WouldBlock | ErrorKind::Unsupported)), "{looked:?}");
    }
}
