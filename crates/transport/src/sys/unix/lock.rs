//! The right to a name.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, ftruncate};
use rustix::io::{Errno, pread, pwrite};

use super::directory::Entry;
use super::place::own_uid;
use crate::error::BindError;

/// The right to a name, held by locking a file. The system releases it when the process ends,
/// however it ends. The file says which process holds it.
#[derive(Debug)]
pub(super) struct NameLock {
    entry: Entry,
    file: OwnedFd,
    inode: (u64, u64),
    /// The process that took it. A copy in a forked child owns nothing.
    owner: u32,
}

impl NameLock {
    /// Locks the file `lock`, for the name `socket`.
    pub(super) fn take(lock: Entry, socket: &Entry) -> Result<Self, BindError> {
        let io = |source: Errno| BindError::Io { path: lock.display(), source: source.into() };
        loop {
            let file = open(&lock).map_err(io)?;
            let stat = fstat(&file).map_err(io)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_uid != own_uid() {
                let what = format!("something of user {}", stat.st_uid);
                return Err(BindError::Occupied { path: lock.display(), what });
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    return Err(BindError::InUse { path: socket.display(), pid: holder(&file) });
                }
                Err(other) => return Err(io(other)),
            }
            let inode = (stat.st_dev, stat.st_ino);
            // The server before may have removed the file between our open and our lock.
            if lock.inode().is_ok_and(|there| there == inode) {
                // For error messages alone: a full disk does not keep a server from serving.
                let _ = sign(&file);
                return Ok(NameLock { entry: lock, file, inode, owner: std::process::id() });
            }
        }
    }

    /// Whether the file is still where other servers look for it.
    pub(super) fn is_in_place(&self) -> bool {
        self.entry.inode().is_ok_and(|there| there == self.inode)
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Drop for NameLock {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        // Still locked: a server that has it open finds it gone and tries again.
        self.entry.unlink_if(self.inode);
        // A forked child may have the descriptor too, and must not keep the name locked.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Opens a lock file, or makes one that its user alone can open, whatever the umask is.
fn open(lock: &Entry) -> rustix::io::Result<OwnedFd> {
    const OWN: Mode = Mode::RUSR.union(Mode::WUSR);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
    let opened = match lock.open(flags, OWN) {
        // Made under a umask by a process that was killed before it could change the mode.
        Err(Errno::ACCESS) => {
            let (file, stat) = lock.pin()?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(Errno::ACCESS);
            }
            file.set_mode(OWN)?;
            lock.open(flags, OWN)?
        }
        other => other?,
    };
    let stat = fstat(&opened)?;
    if stat.st_uid == own_uid() && stat.st_mode & 0o600 != 0o600 {
        fchmod(&opened, OWN)?;
    }
    Ok(opened)
}

/// Writes which process holds the lock: its number, and the namespace that the number is of.
fn sign(file: &OwnedFd) -> io::Result<()> {
    let namespace = pid_namespace().unwrap_or(0);
    ftruncate(file, 0)?;
    pwrite(file, format!("{} {namespace}\n", std::process::id()).as_bytes(), 0)?;
    Ok(())
}

/// Which process holds the lock. `None` when the holder has not signed yet, and when its number
/// is of another pid namespace, where it means another process.
fn holder(file: &OwnedFd) -> Option<u32> {
    let mut line = [0; 64];
    let len = pread(file, &mut line, 0).ok()?;
    let (pid, namespace) = std::str::from_utf8(&line[..len]).ok()?.strip_suffix('\n')?.split_once(' ')?;
    let namespace: u64 = namespace.parse().ok()?;
    (namespace == pid_namespace().unwrap_or(0)).then(|| pid.parse().ok())?
}

/// The pid namespace of this process; none where the system has none, or no /proc.
fn pid_namespace() -> Option<u64> {
    fs::metadata("/proc/self/ns/pid").ok().map(|namespace| namespace.ino())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::{BindError, Listener};

    #[tokio::test]
    async fn a_lock_file_that_another_server_has_made_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (path, lock) = (folder.path().join("pipe"), folder.path().join("pipe.lock"));
        let name = path.to_str().unwrap();
        let first = Listener::bind(name).unwrap();
        fs::remove_file(&path).unwrap();
        fs::remove_file(&lock).unwrap();
        let second = Listener::bind(name).unwrap();
        drop(first);
        assert!(path.exists() && lock.exists());
        assert!(matches!(Listener::bind(name).unwrap_err(), BindError::InUse { .. }));
        drop(second);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
