//! The pipes of a bypass: making them, passing the other side's ends on, taking those up.
//!
//! `O_NONBLOCK` is a flag of an open file description, which every process that has the descriptor
//! shares. A peer that clears the flag would make a read block, and with it the runtime. So each
//! side reads and writes by descriptions of its own: the maker keeps ends that it passes to no
//! process, and the asker opens the passed ends anew.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, recvmsg,
    sendmsg,
};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, pipe_with};
use rustix::process::{Resource, getrlimit};

use super::WriteHalf;
use super::half::NOT_WAITING;
use crate::limits::BYPASS_HOLDS;

/// Whether there are any.
pub(super) const EXIST: bool = true;
/// How many descriptors the other side is passed.
const PASSED: usize = 2;
/// What room they take beside the bytes that they come with.
const SPACE: usize = rustix::cmsg_space!(ScmRights(PASSED));

/// Makes two pipes, and passes the other side's ends on over `socket` with `words`: all of
/// these, or nothing where there is no room for them. `make_read` puts the end to work that is
/// read here.
pub(super) fn pass<R>(
    socket: &OwnedFd,
    words: &[u8],
    make_read: impl FnOnce(OwnedFd) -> io::Result<R>,
) -> io::Result<(R, WriteHalf)> {
    let (read, their_write) = roomy_pipe()?;
    let (their_read, write) = roomy_pipe()?;
    let halves = (make_read(read)?, WriteHalf::new(write)?);
    let fds = [their_read.as_fd(), their_write.as_fd()];
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut passed = SendAncillaryBuffer::new(&mut space);
    if !passed.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    sendmsg(socket, &[IoSlice::new(words)], &mut passed, NOT_WAITING)?;
    Ok(halves)
}

/// A pipe that does not block and holds as much as one does by itself: who has too many gets
/// small ones.
fn roomy_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let is_roomy = fcntl_getpipe_size(&write)? >= BYPASS_HOLDS;
    if !is_roomy || are_many(&write, getrlimit(Resource::Nofile).current) {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    Ok((read, write))
}

/// Whether so many files are open that others may soon be wanting: the system gives the
/// lowest number that is free.
fn are_many(newest: &OwnedFd, limit: Option<u64>) -> bool {
    limit.is_some_and(|limit| newest.as_raw_fd() as u64 >= limit / 2)
}

/// What has been passed on by the other side, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Taken(Vec<OwnedFd>);

impl Taken {
    pub(super) fn none_yet() -> Option<Box<Self>> {
        Some(Box::default())
    }

    /// Reads, with what has been passed on.
    pub(super) fn read(
        &mut self,
        socket: &OwnedFd,
        bytes: &mut [u8],
        flags: RecvFlags,
    ) -> rustix::io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut passed = RecvAncillaryBuffer::new(&mut space);
        let read =
            recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut passed, flags | RecvFlags::CMSG_CLOEXEC)?;
        for message in passed.drain() {
            // More than two are as good as none.
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.0.extend(fds);
                self.0.truncate(PASSED + 1);
            }
        }
        Ok(read.bytes)
    }

    /// Takes up the two ends that have been passed on. `make_read` puts the one to work that is
    /// read.
    pub(super) fn take_up<R>(
        self,
        make_read: impl FnOnce(OwnedFd) -> io::Result<R>,
    ) -> io::Result<(R, WriteHalf)> {
        let Ok([read, write]) = <[OwnedFd; PASSED]>::try_from(self.0) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not two ends of pipes came with it"));
        };
        for end in [&read, &write] {
            if are_many(end, getrlimit(Resource::Nofile).current) {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            if FileType::from_raw_mode(fstat(end)?.st_mode) != FileType::Fifo {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "something else than a pipe came with it",
                ));
            }
        }
        let read = reopened(&read, OFlags::RDONLY)?;
        let write = reopened(&write, OFlags::WRONLY)?;
        Ok((make_read(read)?, WriteHalf::new(write)?))
    }
}

/// Opens a pipe's end anew, or its other one: by an open file description that no other process
/// has. Fails without `/proc`.
pub(super) fn reopened(end: &OwnedFd, access: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", end.as_raw_fd());
    Ok(open(path, access | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use rustix::fs::fcntl_getfl;
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};

    use super::super::ReadHalf;
    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
    }

    /// What is made of descriptors that somebody passes on.
    fn taken(passed: &[&OwnedFd]) -> io::Result<(ReadHalf, WriteHalf)> {
        let (one, other) = pair();
        for fds in passed.chunks(3) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
            let mut buffer = SendAncillaryBuffer::new(&mut space);
            let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
            assert!(buffer.push(SendAncillaryMessage::ScmRights(&fds)));
            sendmsg(&one, &[IoSlice::new(b"x")], &mut buffer, SendFlags::empty()).unwrap();
        }
        let mut taken = Taken::default();
        while taken.read(&other, &mut [0; 8], RecvFlags::DONTWAIT).is_ok_and(|read| read > 0) {}
        taken.take_up(ReadHalf::new)
    }

    #[tokio::test]
    async fn two_ends_of_pipes_are_taken_up_and_nothing_else() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (socket, _other) = pair();
        assert!(taken(&[&read, &write]).is_ok());
        for passed in [&[][..], &[&read], &[&read, &write, &read], &[&read; 9], &[&read, &socket]] {
            assert_eq!(taken(passed).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    /// The maker of a bypass keeps copies of the ends that it has passed.
    #[tokio::test]
    async fn maker_cannot_make_the_passed_ends_block() {
        let (kept_read, their_write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let (their_read, kept_write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let (mut read, mut write) = taken(&[&kept_read, &kept_write]).unwrap();
        for kept in [&kept_read, &kept_write] {
            rustix::io::ioctl_fionbio(kept, false).unwrap();
        }
        // Where the flag is shared both would wait for ever.
        assert!(is_nonblocking(read.descriptor()) && is_nonblocking(write.descriptor().unwrap()));
        assert_eq!(read.try_read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        while write.try_write(&[0; 4096]).is_ok() {}
        // Each end is still that of its pipe, and the end of the stream is seen.
        rustix::io::write(&their_write, b"news").unwrap();
        assert_eq!(read.try_read(&mut [0; 8]).unwrap(), 4);
        drop(their_write);
        assert_eq!(read.try_read(&mut [0; 8]).unwrap(), 0);
        drop((kept_read, their_read, kept_write));
        assert_eq!(write.try_write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    fn is_nonblocking(fd: &OwnedFd) -> bool {
        fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
    }

    #[tokio::test]
    async fn none_is_made_where_many_files_are_open() {
        let (read, _write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let number = read.as_raw_fd() as u64;
        assert!(are_many(&read, Some(2 * number)) && !are_many(&read, Some(2 * number + 2)));
        assert!(!are_many(&read, None));
    }
}
