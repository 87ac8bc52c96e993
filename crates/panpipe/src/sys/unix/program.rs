//! Files that are programs, and what programs are given.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Whether somebody may execute the file.
pub(crate) fn is_executable(_: &Path, metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
}

/// Which file it is, and in which state: its contents cannot change without a change here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

pub(crate) fn file_identity(metadata: &Metadata) -> FileIdentity {
    FileIdentity {
        file: (metadata.dev(), metadata.ino()),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// Whether a standard stream can be the null device. The error of a start does not tell it from
/// a missing program.
pub(crate) fn check_null_device() -> io::Result<()> {
    const PATH: &str = "/dev/null";
    let opened = File::options().read(true).write(true).open(PATH);
    opened.map(drop).map_err(|error| {
        let what = format!("{PATH}, for its standard streams, cannot be opened: {error}; provide it, or give the plugin streams of your own");
        io::Error::new(error.kind(), what)
    })
}
