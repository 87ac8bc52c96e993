//! Opens a path that another process has named.

use std::fs::File;
use std::path::Path;

use crate::error::ImpersonateError;
use crate::path_opener::{OpenError, PathOpener};

/// Nothing is done as a peer on Windows, so no file is opened for one.
pub(crate) fn open_path(_: &Path, _: &PathOpener) -> Result<File, OpenError> {
    Err(ImpersonateError::Unsupported.into())
}
