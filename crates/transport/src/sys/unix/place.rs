//! Where the socket of a name is.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::NameError;

/// The longest path of a socket: `sun_path` less its closing nought.
const LONGEST: usize = 107;

/// Where the socket of a name is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    path: PathBuf,
    /// Whether the directory is ours to make and to keep private.
    private: bool,
}

impl Place {
    pub(crate) fn of(name: &str) -> Result<Self, NameError> {
        let place = if name.starts_with('/') {
            Place { path: PathBuf::from(name), private: false }
        } else if name.contains('/') {
            return Err(NameError::Slash { name: name.to_owned() });
        } else if name == "." || name == ".." {
            return Err(NameError::Directory { name: name.to_owned() });
        } else {
            Place { path: directory().join(name), private: true }
        };
        let is_file = place.path.file_name().is_some() && !name.ends_with('/') && !name.ends_with("/.");
        if !is_file {
            return Err(NameError::Directory { name: name.to_owned() });
        }
        let over = place.path.as_os_str().len().saturating_sub(LONGEST);
        if over > 0 {
            let len = name.len();
            return Err(NameError::TooLong { name: name.to_owned(), len, limit: len.saturating_sub(over) });
        }
        Ok(place)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    pub(crate) fn is_private(&self) -> bool {
        self.private
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// The user's own directory for plain names.
fn directory() -> PathBuf {
    match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(runtime) if runtime.is_absolute() => runtime.join("panpipe"),
        _ => PathBuf::from(format!("/tmp/panpipe-{}", rustix::process::geteuid().as_raw())),
    }
}
