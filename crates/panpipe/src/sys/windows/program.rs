//! Files that are programs, and what programs are given.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Whether the file's name says that it can be executed.
pub(crate) fn is_executable(file: &Path, metadata: &Metadata) -> bool {
    metadata.is_file() && file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("exe"))
}

/// In which state a file is.
pub(crate) type FileIdentity = (u64, Option<SystemTime>, Option<SystemTime>);

pub(crate) fn file_identity(metadata: &Metadata) -> FileIdentity {
    (metadata.len(), metadata.created().ok(), metadata.modified().ok())
}

/// The null device is always there.
pub(crate) fn check_null_device() -> io::Result<()> {
    Ok(())
}
