//! Whether a socket takes descriptors that the other side passes on.
//!
//! To close a descriptor can take as long as its sender likes: closing a TCP socket with unsent
//! data waits for SO_LINGER. A receiver that expects no descriptors closes them all the same,
//! on the thread that reads or closes the connection. So the system is told to let nobody pass
//! any, which it can be since Linux 6.16. The sender gets EPERM then.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};

/// Has the other side's descriptors refused. Sockets that are accepted from a listening one
/// inherit it from the moment when they connect.
pub(super) fn refuse(socket: &OwnedFd) {
    // An error: the system is older, and closes what nobody takes up.
    let _ = set(socket, false);
}

/// Lets the other side pass descriptors on.
pub(super) fn accept(socket: &OwnedFd) {
    // An error: the system is older, and lets it in any case.
    let _ = set(socket, true);
}

fn set(socket: &OwnedFd, takes: bool) -> io::Result<()> {
    /// The same number on the architectures that share the generic ones, as nearly all do.
    const SO_PASSRIGHTS: libc::c_int = 83;
    if cfg!(not(any(target_os = "linux", target_os = "android"))) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let value = libc::c_int::from(takes);
    // SAFETY: the descriptor is open while it is borrowed, and the length is that of the value,
    // which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const value).cast(),
            mem::size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;

    use rustix::io::Errno;
    use rustix::net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
        sendmsg, socketpair,
    };

    use super::*;

    /// Passes a descriptor on.
    fn pass(socket: &OwnedFd) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut passed = SendAncillaryBuffer::new(&mut space);
        let fds = [socket.as_fd()];
        assert!(passed.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(socket, &[IoSlice::new(b"x")], &mut passed, SendFlags::empty())
    }

    #[test]
    fn descriptors_are_refused_until_they_are_expected() {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        if set(&one, true).is_err() {
            eprintln!("SKIPPED: this system has no SO_PASSRIGHTS, which came with Linux 6.16");
            return;
        }
        refuse(&one);
        assert_eq!(pass(&other), Err(Errno::PERM));
        accept(&one);
        assert_eq!(pass(&other), Ok(1));
    }
}
