//! Directories that hold sockets and FIFOs: opened once, checked, and used by descriptor.
//!
//! Every check and every change is relative to the opened directory, so a directory that is
//! replaced on the way cannot redirect any of them.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, chownat, fstat, mkdirat, openat, readlinkat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

use super::Place;
use super::id_map::may_be_machines_root;
use super::place::{LONGEST, own_uid};
use crate::access::Reach;
use crate::error::BindError;

/// Others may pass through, and list nothing.
const PASSABLE: Mode = Mode::RWXU.union(Mode::XGRP).union(Mode::XOTH);
/// As many symbolic links as the kernel follows in one path.
const MAX_LINKS: u32 = 40;

/// Opens something for its identity alone, which takes no permission on it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PIN: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const PIN: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// An opened directory.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    /// For the log and for errors.
    path: PathBuf,
}

/// A name in an opened directory.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    directory: Arc<Directory>,
    name: OsString,
}

/// What a server needs to take a name.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Where the socket or the FIFO goes.
    pub(super) entry: Entry,
    /// The lock files, in the order in which all servers take them.
    pub(super) locks: Vec<Entry>,
}

/// Makes the directories of a plain name and checks those of any.
///
/// A directory of this user's own may be entered, or for a public name written, by this user
/// alone. Of other owners only root is trusted. A directory in which others can write is
/// trusted only with the sticky bit, which keeps them from replacing what is there.
pub(super) fn prepare(place: &Place, reach: Reach) -> Result<Prepared, BindError> {
    match place {
        Place::Own { private, other_private, public } => {
            let other = other_private.as_deref();
            let own = match prepare_private(private) {
                // A directory of the login session goes with the session.
                Err(Unprepared::NoParent(_)) if other.is_some_and(|other| prepare_private(other).is_ok()) => {
                    let other = other.unwrap_or(private);
                    prepare_private(other)?
                }
                own => own?,
            };
            let mut locks = vec![own.lock()];
            locks.extend(other.and_then(lock_in_other).filter(|lock| lock.path() != locks[0].path()));
            // In one order for all servers: two that start at once must not each get one lock.
            locks.sort_by_key(Entry::path);
            if reach == Reach::Owner {
                return Ok(Prepared { entry: own, locks });
            }
            let entry = prepare_public(public)?;
            locks.push(entry.lock());
            Ok(Prepared { entry, locks })
        }
        Place::Foreign { public: path, .. } | Place::Path(path) => {
            let (directory, name) = split(path);
            let directory = Directory::open(directory)?;
            directory.check(reach)?;
            let entry = Entry { directory: Arc::new(directory), name };
            Ok(Prepared { locks: vec![entry.lock()], entry })
        }
    }
}

/// Why a private directory cannot be used.
#[derive(Debug)]
enum Unprepared {
    NoParent(BindError),
    Other(BindError),
}

impl From<BindError> for Unprepared {
    fn from(error: BindError) -> Self {
        Unprepared::Other(error)
    }
}

impl From<Unprepared> for BindError {
    fn from(error: Unprepared) -> Self {
        match error {
            Unprepared::NoParent(error) | Unprepared::Other(error) => error,
        }
    }
}

/// The lock in the private directory that this user's servers in another environment use.
///
/// `None` where no such server can be: without it two servers could have one name.
fn lock_in_other(private: &Path) -> Option<Entry> {
    let (directory, _) = split(private);
    // One in /tmp is made by the first server that uses it.
    let is_in_session = !directory.starts_with("/tmp");
    if !is_in_session && rustix::fs::lstat(directory).is_err() {
        return None;
    }
    prepare_private(private).ok().map(|entry| entry.lock())
}

/// Makes the directory, or checks that no other user can enter it.
fn prepare_private(path: &Path) -> Result<Entry, Unprepared> {
    let (directory, name) = split(path);
    let directory = Directory::make(directory, Mode::RWXU, "make it, or unset XDG_RUNTIME_DIR")?;
    let stat = directory.stat()?;
    directory.check_own(&stat, "set XDG_RUNTIME_DIR to a directory of your own")?;
    if stat.st_mode & 0o077 != 0 {
        return Err(directory.refuse("others can enter it; set its mode to 0700").into());
    }
    // The umask of the process that made it has closed it to its own user.
    if stat.st_mode & 0o700 != 0o700 {
        directory.set_mode(Mode::RWXU)?;
    }
    Ok(Entry { directory: Arc::new(directory), name })
}

/// Makes the directory, or checks that no other user can write in it.
fn prepare_public(path: &Path) -> Result<Entry, BindError> {
    let (directory, name) = split(path);
    let directory = Directory::make(directory, PASSABLE, "make it, or serve an absolute path elsewhere")?;
    let stat = directory.stat()?;
    directory.check_own(&stat, "remove it, or serve an absolute path elsewhere")?;
    if stat.st_mode & 0o022 != 0 {
        return Err(directory.refuse("others can write in it; set its mode to 0711"));
    }
    if stat.st_mode & PASSABLE.bits() != PASSABLE.bits() {
        directory.set_mode(PASSABLE)?;
    }
    Ok(Entry { directory: Arc::new(directory), name })
}

const NO_DIRECTORY: &str = "it is not a directory; remove what is there, or serve an absolute path elsewhere";

impl Directory {
    /// Opens a directory by its path. Refuses a path on which any user but this one and root
    /// can replace a directory or a symbolic link.
    fn open(path: &Path) -> Result<Directory, BindError> {
        let failed = |at: &Path, errno: Errno| refusal(at, &io::Error::from(errno).to_string());
        let mut at = PathBuf::from("/");
        let root = openat(rustix::fs::CWD, "/", PIN | OFlags::DIRECTORY, Mode::empty());
        let mut opened = root.map_err(|errno| failed(&at, errno))?;
        let mut left: VecDeque<OsString> = components(path);
        let mut links = 0;
        while let Some(next) = left.pop_front() {
            check_parent(&at, &fstat(&opened).map_err(|errno| failed(&at, errno))?)?;
            if next == "/" {
                at = PathBuf::from("/");
                opened = openat(rustix::fs::CWD, "/", PIN | OFlags::DIRECTORY, Mode::empty())
                    .map_err(|errno| failed(&at, errno))?;
                continue;
            }
            let there = at.join(&next);
            let inside = match openat(&opened, &next, PIN, Mode::empty()) {
                Ok(inside) => inside,
                // Opened for reading, where a descriptor for the identity cannot be had.
                Err(Errno::LOOP | Errno::MLINK) => {
                    left = followed(&opened, &next, &there, &mut links, left)?;
                    continue;
                }
                Err(errno) => return Err(failed(&there, errno)),
            };
            let stat = fstat(&inside).map_err(|errno| failed(&there, errno))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    (opened, at) = (inside, if next == ".." { parent(&at) } else { there });
                }
                FileType::Symlink => left = followed(&opened, &next, &there, &mut links, left)?,
                _ => return Err(refusal(&there, NO_DIRECTORY)),
            }
        }
        Ok(Directory { fd: opened, path: path.to_owned() })
    }

    /// Opens a directory of this user's own by its path; makes it if it is not there.
    fn make(path: &Path, mode: Mode, without_parent: &str) -> Result<Directory, Unprepared> {
        let (above, name) = split(path);
        if rustix::fs::stat(above).is_err_and(|errno| errno == Errno::NOENT) {
            let why = format!("its parent does not exist; {without_parent}");
            return Err(Unprepared::NoParent(refusal(path, &why)));
        }
        let above = Directory::open(above)?;
        check_parent(&above.path, &above.stat()?)?;
        let failed = |errno: Errno| refusal(path, &io::Error::from(errno).to_string());
        match mkdirat(&above.fd, &name, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno).into()),
        }
        // The last link of a directory of this user's own is not followed.
        match openat(&above.fd, &name, PIN | OFlags::DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Directory { fd, path: path.to_owned() }),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK) => Err(refusal(path, NO_DIRECTORY).into()),
            Err(errno) => Err(failed(errno).into()),
        }
    }

    fn stat(&self) -> Result<Stat, BindError> {
        fstat(&self.fd).map_err(|errno| self.refuse(&io::Error::from(errno).to_string()))
    }

    fn set_mode(&self, mode: Mode) -> Result<(), BindError> {
        change_mode(&self.fd, mode).map_err(|errno| {
            let why = format!("a umask has set a mode that cannot be changed to {:04o}", mode.bits());
            self.refuse(&format!("{why}: {}", io::Error::from(errno)))
        })
    }

    /// Checks that no untrusted user can replace what is in the directory, and that the users
    /// whom the pipe is for can enter it.
    fn check(&self, reach: Reach) -> Result<(), BindError> {
        let stat = self.stat()?;
        check_owner(&self.path, &stat)?;
        if stat.st_mode & 0o022 != 0 && stat.st_mode & 0o1000 == 0 {
            let why = "others can write in it and could replace the pipe; set its mode to 0755 or less";
            return Err(self.refuse(why));
        }
        if reach != Reach::Owner && stat.st_mode & 0o011 == 0 {
            let why = "only its owner can enter it, and the pipe is for others too; set its mode to 0711";
            return Err(self.refuse(why));
        }
        Ok(())
    }

    fn check_own(&self, stat: &Stat, otherwise: &str) -> Result<(), BindError> {
        let own = own_uid();
        if stat.st_uid == own {
            return Ok(());
        }
        let why = format!("it belongs to user {}, not to this user, {own}; {otherwise}", stat.st_uid);
        Err(self.refuse(&why))
    }

    fn refuse(&self, why: &str) -> BindError {
        refusal(&self.path, why)
    }
}

/// The path behind a symbolic link of a trusted owner, before what is left of the path.
fn followed(
    directory: &OwnedFd,
    name: &OsStr,
    at: &Path,
    links: &mut u32,
    mut left: VecDeque<OsString>,
) -> Result<VecDeque<OsString>, BindError> {
    let failed = |errno: Errno| refusal(at, &io::Error::from(errno).to_string());
    *links += 1;
    if *links > MAX_LINKS {
        return Err(failed(Errno::LOOP));
    }
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    check_owner(at, &stat)?;
    let target = readlinkat(directory, name, Vec::new()).map_err(failed)?;
    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
    for component in components(&target).into_iter().rev() {
        left.push_front(component);
    }
    Ok(left)
}

/// The steps of a path; an absolute one begins with a step to the root.
fn components(path: &Path) -> VecDeque<OsString> {
    let step = |component: Component<'_>| match component {
        Component::CurDir => None,
        other => Some(other.as_os_str().to_owned()),
    };
    path.components().filter_map(step).collect()
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

/// Checks that only a trusted user can replace what is in a directory on the way to a pipe.
fn check_parent(path: &Path, stat: &Stat) -> Result<(), BindError> {
    check_owner(path, stat)?;
    let (is_sticky, own_group) = (stat.st_mode & 0o1000 != 0, rustix::process::getegid().as_raw());
    if stat.st_mode & 0o002 != 0 && !is_sticky {
        let why =
            "every user can write in it and could replace the pipe's directory; set its mode to 0755 or less";
        return Err(refusal(path, why));
    }
    // Many systems give each user a group of its own, and a umask that lets it write.
    if stat.st_mode & 0o020 != 0 && !is_sticky && ![0, own_group].contains(&stat.st_gid) {
        let why = format!(
            "group {} can write in it and could replace the pipe's directory; set its mode to 0755 or less",
            stat.st_gid
        );
        return Err(refusal(path, &why));
    }
    Ok(())
}

fn check_owner(path: &Path, stat: &Stat) -> Result<(), BindError> {
    let owner = stat.st_uid;
    if owner == own_uid() || owner == 0 || may_be_machines_root(owner) {
        return Ok(());
    }
    let why = format!("it belongs to user {owner}, who could replace the pipe; use a directory of your own");
    Err(refusal(path, &why))
}

/// A path's directory and the name in it.
fn split(path: &Path) -> (&Path, OsString) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (directory, path.file_name().unwrap_or_default().to_owned())
}

fn refusal(directory: &Path, why: &str) -> BindError {
    BindError::Directory { path: directory.display().to_string(), why: why.to_owned() }
}

/// Sets the mode of what a descriptor of its identity stands for.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn change_mode(pinned: &OwnedFd, mode: Mode) -> rustix::io::Result<()> {
    /// `fchmodat2`, since Linux 6.6.
    const FCHMODAT2: libc::c_long = 452;
    let path = format!("/proc/self/fd/{}", pinned.as_raw_fd());
    match rustix::fs::chmod(path, mode) {
        Err(Errno::NOENT | Errno::NOTDIR) => {}
        other => return other,
    }
    // SAFETY: the descriptor is open while it is borrowed, and the path is a string of this
    // program's own; the call changes a mode and writes no memory.
    let changed = unsafe {
        libc::syscall(FCHMODAT2, pinned.as_raw_fd(), c"".as_ptr(), mode.bits(), libc::AT_EMPTY_PATH)
    };
    if changed == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn change_mode(pinned: &OwnedFd, mode: Mode) -> rustix::io::Result<()> {
    rustix::fs::fchmod(pinned, mode)
}

impl Entry {
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path.join(&self.name)
    }

    /// Its path, for people.
    pub(super) fn display(&self) -> String {
        self.path().display().to_string()
    }

    /// The file whose lock is the right to this name.
    fn lock(&self) -> Entry {
        let mut name = self.name.clone();
        name.push(".lock");
        Entry { directory: Arc::clone(&self.directory), name }
    }

    /// Describes what is there, not what a link leads to.
    pub(super) fn stat(&self) -> rustix::io::Result<Stat> {
        statat(&self.directory.fd, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// What is there, by device and inode.
    pub(super) fn inode(&self) -> rustix::io::Result<(u64, u64)> {
        let stat = self.stat()?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// The same by its path, on which its directory may have been replaced.
    pub(super) fn inode_by_path(&self) -> rustix::io::Result<(u64, u64)> {
        let stat = match rustix::fs::lstat(self.path()) {
            Err(Errno::NAMETOOLONG) => return self.inode(),
            stat => stat?,
        };
        Ok((stat.st_dev, stat.st_ino))
    }

    pub(super) fn unlink(&self) -> rustix::io::Result<()> {
        unlinkat(&self.directory.fd, &self.name, AtFlags::empty())
    }

    /// Removes what is there if it is this file. What others have put in its place stays.
    pub(super) fn unlink_if(&self, inode: (u64, u64)) {
        if self.inode().is_ok_and(|there| there == inode) {
            let _ = self.unlink();
        }
    }

    /// Opens it; follows no link.
    pub(super) fn open(&self, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        openat(&self.directory.fd, &self.name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode)
    }

    pub(super) fn make_fifo(&self, mode: Mode) -> rustix::io::Result<()> {
        rustix::fs::mkfifoat(&self.directory.fd, &self.name, mode)
    }

    /// What is there and belongs to this user, to be changed.
    pub(super) fn pin(&self) -> rustix::io::Result<(Pinned, Stat)> {
        let (pinned, stat) = Pinned::new(self)?;
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        if is_link || stat.st_uid != own_uid() { Err(Errno::PERM) } else { Ok((pinned, stat)) }
    }

    /// The address of a socket there. It holds as long as this entry does.
    pub(super) fn address(&self) -> io::Result<SocketAddrUnix> {
        address(&self.path(), &self.directory.fd)
    }

    /// A path by which the kernel finds it, where its own is too long.
    pub(super) fn kernel_path(&self) -> PathBuf {
        through_descriptor(&self.directory.fd, &self.name)
    }
}

/// A file of this user's own, by its identity: whatever name it has meanwhile, it is changed.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Debug)]
pub(super) struct Pinned(OwnedFd);

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Pinned {
    fn new(entry: &Entry) -> rustix::io::Result<(Self, Stat)> {
        let fd = openat(&entry.directory.fd, &entry.name, PIN, Mode::empty())?;
        let stat = fstat(&fd)?;
        Ok((Pinned(fd), stat))
    }

    pub(super) fn set_mode(&self, mode: Mode) -> rustix::io::Result<()> {
        change_mode(&self.0, mode)
    }

    pub(super) fn set_group(&self, group: u32) -> rustix::io::Result<()> {
        chownat(&self.0, "", None, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH)
    }
}

/// A file of this user's own, by its name in its directory: a socket cannot be opened for its
/// identity here. No link is followed.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[derive(Debug)]
pub(super) struct Pinned(Entry);

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Pinned {
    fn new(entry: &Entry) -> rustix::io::Result<(Self, Stat)> {
        let stat = entry.stat()?;
        Ok((Pinned(entry.clone()), stat))
    }

    pub(super) fn set_mode(&self, mode: Mode) -> rustix::io::Result<()> {
        rustix::fs::chmodat(&self.0.directory.fd, &self.0.name, mode, AtFlags::SYMLINK_NOFOLLOW)
    }

    pub(super) fn set_group(&self, group: u32) -> rustix::io::Result<()> {
        let group = Some(Gid::from_raw(group));
        chownat(&self.0.directory.fd, &self.0.name, None, group, AtFlags::SYMLINK_NOFOLLOW)
    }
}

fn through_descriptor(directory: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
}

/// The address of a socket at `path`, which is in `directory`. A path that is too long for an
/// address is replaced by one through the directory's descriptor.
fn address(path: &Path, directory: &OwnedFd) -> io::Result<SocketAddrUnix> {
    let len = path.as_os_str().as_bytes().len();
    if len <= LONGEST {
        return Ok(SocketAddrUnix::new(path)?);
    }
    let short = through_descriptor(directory, path.file_name().unwrap_or_default());
    let can_be_reached = cfg!(any(target_os = "linux", target_os = "android"))
        && rustix::fs::access("/proc/self/fd", rustix::fs::Access::EXISTS).is_ok();
    if !can_be_reached || short.as_os_str().len() > LONGEST {
        let why = format!(
            "its path is {len} bytes long, and a socket's may be {LONGEST} where /proc is not mounted; use a directory with a shorter path, by XDG_RUNTIME_DIR or an absolute path"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(SocketAddrUnix::new(short)?)
}

/// Calls `use_it` with the address of the socket at a path, for a client.
pub(super) fn with_address<T>(
    path: &Path,
    use_it: impl FnOnce(&SocketAddrUnix) -> io::Result<T>,
) -> io::Result<T> {
    if path.as_os_str().len() <= LONGEST {
        return use_it(&SocketAddrUnix::new(path)?);
    }
    let (directory, _) = split(path);
    let flags = (PIN - OFlags::NOFOLLOW) | OFlags::DIRECTORY;
    let directory = openat(rustix::fs::CWD, directory, flags, Mode::empty())?;
    use_it(&address(path, &directory)?)
}

/// Who owns the directory of a path, unless it is this user.
pub(super) fn foreign_owner(path: &Path) -> Option<u32> {
    let stat = rustix::fs::lstat(split(path).0).ok()?;
    (stat.st_uid != own_uid()).then_some(stat.st_uid)
}

/// Whether the mode of this user's own file at a path keeps this user off; with `or_directory`
/// also whether that of its directory does.
pub(super) fn is_closed_to_owner(path: &Path, or_directory: bool) -> bool {
    let lacks = |path: &Path, bits: u32| {
        let stat = rustix::fs::lstat(path);
        stat.is_ok_and(|stat| stat.st_uid == own_uid() && stat.st_mode & bits != bits)
    };
    lacks(path, 0o200) || or_directory && lacks(split(path).0, 0o100)
}
