//! Whether a directory can be trusted with a socket.

use std::io;
use std::path::Path;

use rustix::fs::{FileType, Mode, lstat, mkdir};
use rustix::io::Errno;

use super::Place;
use crate::error::BindError;

/// Makes the directory of a plain name; checks that of any.
///
/// A private directory is the user's own and nobody else's. Of another's only
/// root is trusted, and one that others write in only with the sticky bit, which
/// keeps them from replacing what is there.
pub(super) fn prepare(place: &Place) -> Result<(), BindError> {
    let directory = place.directory();
    let error = |source: Errno| BindError::Directory {
        path: directory.display().to_string(),
        why: io::Error::from(source).to_string(),
    };
    if place.is_private() {
        match mkdir(directory, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => {
                return refuse(directory, "its parent does not exist; make it, or unset XDG_RUNTIME_DIR");
            }
            Err(other) => return Err(error(other)),
        }
    }
    let stat = lstat(directory).map_err(error)?;
    // A symbolic link on the way to an absolute path is its owner's affair.
    let stat = if !place.is_private() && FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        rustix::fs::stat(directory).map_err(error)?
    } else {
        stat
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return refuse(
            directory,
            "it is not a directory; remove what is there, or serve an absolute path elsewhere",
        );
    }
    let own = rustix::process::geteuid().as_raw();
    let others_write = stat.st_mode & 0o022 != 0;
    if place.is_private() {
        if stat.st_uid != own {
            return refuse(
                directory,
                &format!(
                    "it belongs to user {}, not to this user, {own}; set XDG_RUNTIME_DIR to a directory of your own",
                    stat.st_uid
                ),
            );
        }
        if stat.st_mode & 0o077 != 0 {
            return refuse(directory, "others can enter it; set its mode to 0700");
        }
    } else if stat.st_uid != own && stat.st_uid != 0 {
        return refuse(
            directory,
            &format!(
                "it belongs to user {}, who could replace the pipe; use a directory of your own",
                stat.st_uid
            ),
        );
    } else if others_write && stat.st_mode & 0o1000 == 0 {
        return refuse(
            directory,
            "others can write in it and could replace the pipe; set its mode to 0755 or less",
        );
    }
    Ok(())
}

fn refuse(directory: &Path, why: &str) -> Result<(), BindError> {
    Err(BindError::Directory { path: directory.display().to_string(), why: why.to_owned() })
}
