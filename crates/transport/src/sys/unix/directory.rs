//! Whether a directory can be trusted with a socket.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat, fchmod, fstat, lstat, mkdir, open, stat};
use rustix::io::Errno;

use super::Place;
use super::place::own_uid;
use crate::access::Reach;
use crate::error::BindError;

/// Others may pass, and look at nothing.
const PASSABLE: Mode = Mode::RWXU.union(Mode::XGRP).union(Mode::XOTH);

/// Makes the directories of a plain name; checks those of any.
///
/// The user's own directories are its own and nobody else's. Of another's only root
/// is trusted, and one that others write in only with the sticky bit, which keeps
/// them from replacing what is there.
pub(super) fn prepare(place: &Place, reach: Reach) -> Result<(), BindError> {
    match place {
        Place::Own { private, public } => {
            prepare_private(directory_of(private))?;
            match reach {
                Reach::Owner => Ok(()),
                Reach::Group(_) | Reach::Everyone => prepare_public(directory_of(public)),
            }
        }
        Place::Foreign { public: path, .. } | Place::Path(path) => check(directory_of(path), reach),
    }
}

/// Makes the directory, or sees that nobody else can enter it.
fn prepare_private(directory: &Path) -> Result<(), BindError> {
    make(directory, Mode::RWXU, "make it, or unset XDG_RUNTIME_DIR")?;
    let stat = lstat(directory).map_err(|error| failed(directory, error))?;
    check_own(directory, &stat, "set XDG_RUNTIME_DIR to a directory of your own")?;
    if stat.st_mode & 0o077 != 0 {
        return refuse(directory, "others can enter it; set its mode to 0700");
    }
    Ok(())
}

/// Makes the directory, or sees that nobody else can write in it.
fn prepare_public(directory: &Path) -> Result<(), BindError> {
    make(directory, PASSABLE, "make it, or serve an absolute path elsewhere")?;
    // What is looked at is what is changed.
    let opened = open_directory(directory)?;
    let stat = fstat(&opened).map_err(|error| failed(directory, error))?;
    check_own(directory, &stat, "remove it, or serve an absolute path elsewhere")?;
    if stat.st_mode & 0o022 != 0 {
        return refuse(directory, "others can write in it; set its mode to 0711");
    }
    // The umask of whoever made it has closed it.
    if stat.st_mode & PASSABLE.bits() != PASSABLE.bits() {
        fchmod(&opened, PASSABLE).map_err(|error| failed(directory, error))?;
    }
    Ok(())
}

/// Sees that nobody untrusted can replace what is in the directory, and that those
/// can enter it who are to.
fn check(directory: &Path, reach: Reach) -> Result<(), BindError> {
    // A symbolic link on the way to it is its owner's affair.
    let stat = stat(directory).map_err(|error| failed(directory, error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return refuse(directory, NO_DIRECTORY);
    }
    if stat.st_uid != own_uid() && stat.st_uid != 0 {
        return refuse(
            directory,
            &format!(
                "it belongs to user {}, who could replace the pipe; use a directory of your own",
                stat.st_uid
            ),
        );
    }
    if stat.st_mode & 0o022 != 0 && stat.st_mode & 0o1000 == 0 {
        return refuse(
            directory,
            "others can write in it and could replace the pipe; set its mode to 0755 or less",
        );
    }
    if reach != Reach::Owner && stat.st_mode & 0o011 == 0 {
        return refuse(
            directory,
            "only its owner can enter it, and the pipe is for others too; set its mode to 0711",
        );
    }
    Ok(())
}

const NO_DIRECTORY: &str = "it is not a directory; remove what is there, or serve an absolute path elsewhere";

fn make(directory: &Path, mode: Mode, without_parent: &str) -> Result<(), BindError> {
    match mkdir(directory, mode) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => refuse(directory, &format!("its parent does not exist; {without_parent}")),
        Err(other) => Err(failed(directory, other)),
    }
}

fn open_directory(directory: &Path) -> Result<OwnedFd, BindError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match open(directory, flags, Mode::empty()) {
        Ok(opened) => Ok(opened),
        Err(Errno::NOTDIR | Errno::LOOP) => refuse(directory, NO_DIRECTORY),
        // Another's, mostly, and its stat tells whose.
        Err(error) => {
            let stat = lstat(directory).map_err(|error| failed(directory, error))?;
            check_own(directory, &stat, "remove it, or serve an absolute path elsewhere")?;
            Err(failed(directory, error))
        }
    }
}

fn check_own(directory: &Path, stat: &Stat, otherwise: &str) -> Result<(), BindError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return refuse(directory, NO_DIRECTORY);
    }
    let own = own_uid();
    if stat.st_uid != own {
        return refuse(
            directory,
            &format!("it belongs to user {}, not to this user, {own}; {otherwise}", stat.st_uid),
        );
    }
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(directory: &Path, error: Errno) -> BindError {
    BindError::Directory { path: directory.display().to_string(), why: io::Error::from(error).to_string() }
}

fn refuse<T>(directory: &Path, why: &str) -> Result<T, BindError> {
    Err(BindError::Directory { path: directory.display().to_string(), why: why.to_owned() })
}
