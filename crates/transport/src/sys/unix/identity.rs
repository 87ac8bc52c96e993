//! What the system tells of a connected peer.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Weak;

use super::Connected;

/// Room for as many is made before it is known how many there are.
const FEW_GROUPS: usize = 32;

impl Connected {
    /// The peer's supplementary groups, as of when the connection was made.
    pub(crate) fn groups(&self) -> io::Result<Vec<u32>> {
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "the connection to the peer has ended");
        let socket = self.0.as_ref().and_then(Weak::upgrade).ok_or_else(gone)?;
        let mut groups: Vec<libc::gid_t> = vec![0; FEW_GROUPS];
        loop {
            let room = size_of::<libc::gid_t>() * groups.len();
            let mut used = room as libc::socklen_t;
            // SAFETY: the socket is open as long as `socket` lives, and the room is as
            // large as is told.
            let told = unsafe {
                libc::getsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_PEERGROUPS,
                    groups.as_mut_ptr().cast(),
                    &mut used,
                )
            };
            let used = used as usize / size_of::<libc::gid_t>();
            if told == 0 {
                groups.truncate(used);
                return Ok(groups);
            }
            match io::Error::last_os_error() {
                // It says how many there are.
                error if error.raw_os_error() == Some(libc::ERANGE) && used > groups.len() => {
                    groups.resize(used, 0);
                }
                error => return Err(error),
            }
        }
    }
}
