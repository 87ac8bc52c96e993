//! Which files are programs.

use std::fs::Metadata;
use std::path::Path;

/// Whether the file's name says that it can be executed.
pub(crate) fn is_executable(file: &Path, metadata: &Metadata) -> bool {
    metadata.is_file() && file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("exe"))
}
