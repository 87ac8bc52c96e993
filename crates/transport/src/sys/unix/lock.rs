//! The right to a name.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, ftruncate, open, unlink};
use rustix::io::{Errno, pread, pwrite};

use super::listener::inode;
use super::place::own_uid;
use crate::error::BindError;

/// The right to a name, held by locking a file. The system lets go of it when the
/// process ends, however it ends. In the file stands who holds it.
#[derive(Debug)]
pub(super) struct NameLock {
    path: PathBuf,
    _file: OwnedFd,
}

impl NameLock {
    /// Takes the right to what will be at `socket`.
    pub(super) fn take(path: PathBuf, socket: &Path) -> Result<Self, BindError> {
        let io = |source: Errno| BindError::Io { path: path.display().to_string(), source: source.into() };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        loop {
            let file = open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(io)?;
            let stat = fstat(&file).map_err(io)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_uid != own_uid() {
                let what = format!("something of user {}", stat.st_uid);
                return Err(BindError::Occupied { path: path.display().to_string(), what });
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    let path = socket.display().to_string();
                    return Err(BindError::InUse { path, pid: holder(&file) });
                }
                Err(other) => return Err(io(other)),
            }
            // The server before may have removed the file between our open and our lock.
            if inode(&path).is_ok_and(|there| there == (stat.st_dev, stat.st_ino)) {
                // It is for words alone: a full disk does not keep a server from serving.
                let _ = sign(&file);
                return Ok(NameLock { path, _file: file });
            }
        }
    }
}

impl Drop for NameLock {
    fn drop(&mut self) {
        // Still locked: who has it open finds it gone and tries again.
        let _ = unlink(&self.path);
    }
}

/// Writes who holds the lock.
fn sign(file: &OwnedFd) -> io::Result<()> {
    ftruncate(file, 0)?;
    pwrite(file, format!("{}\n", std::process::id()).as_bytes(), 0)?;
    Ok(())
}

/// Who holds the lock, unless it has got it this moment and not signed yet.
fn holder(file: &OwnedFd) -> Option<u32> {
    let mut line = [0; 16];
    let len = pread(file, &mut line, 0).ok()?;
    std::str::from_utf8(&line[..len]).ok()?.strip_suffix('\n')?.parse().ok()
}
