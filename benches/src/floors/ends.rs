//! Two ends of bytes, which are read and written by system calls and nothing else.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, ioctl_fionbio, read, retry_on_intr, write};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::pipe::fcntl_setpipe_size;

/// For how long an end is looked at before its reader sleeps.
pub(super) const SPIN: Duration = Duration::from_micros(100);

/// What a pipe or a socket is let hold where messages are large: a small one has
/// writer and reader take turns.
const ROOM: usize = 1 << 20;

/// Lets an end hold a large message, as far as it can.
pub(super) fn make_roomy(end: &OwnedFd) {
    let _ = fcntl_setpipe_size(end, ROOM);
    let _ = set_socket_send_buffer_size(end, ROOM);
}

/// An end that is read and one that is written.
pub(super) struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    spins: bool,
}

impl Ends {
    pub(super) fn new(read: OwnedFd, write: OwnedFd, spins: bool) -> Ends {
        if spins {
            ioctl_fionbio(&read, true).expect("it can be made not to block");
        }
        Ends { read, write, spins }
    }

    /// Reads what there is; zero at the end.
    pub(super) fn read(&self, buffer: &mut [u8]) -> usize {
        let mut start = None;
        loop {
            match read(&self.read, &mut *buffer) {
                Ok(count) => return count,
                Err(Errno::AGAIN) => {
                    let start = *start.get_or_insert_with(Instant::now);
                    if !self.spins || start.elapsed() >= SPIN {
                        wait(&self.read, PollFlags::IN);
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => return 0,
            }
        }
    }

    /// Fills the buffer; whether there was enough.
    pub(super) fn read_exact(&self, mut buffer: &mut [u8]) -> bool {
        while !buffer.is_empty() {
            match self.read(buffer) {
                0 => return false,
                count => buffer = &mut buffer[count..],
            }
        }
        true
    }

    /// Writes all; whether somebody reads.
    pub(super) fn write_all(&self, mut buffer: &[u8]) -> bool {
        while !buffer.is_empty() {
            match write(&self.write, buffer) {
                Ok(count) => buffer = &buffer[count..],
                Err(Errno::AGAIN) => wait(&self.write, PollFlags::OUT),
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

fn wait(end: &OwnedFd, flags: PollFlags) {
    retry_on_intr(|| poll(&mut [PollFd::new(end, flags)], None)).expect("waiting works");
}
