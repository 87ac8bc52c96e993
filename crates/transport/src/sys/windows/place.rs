//! Where the pipe of a name is.

use std::fmt;
use std::path::Path;

use crate::error::NameError;

/// What every pipe's path begins with.
const ROOT: &str = r"\\.\pipe\";

/// The longest path of a pipe, in characters.
const LONGEST: usize = 256;

/// Where the pipe of a name is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    path: String,
}

impl Place {
    pub(crate) fn of(name: &str) -> Result<Self, NameError> {
        let plain = name.strip_prefix(ROOT).unwrap_or(name);
        if plain.contains(['/', '\\']) {
            return Err(NameError::Slash { name: name.to_owned() });
        }
        if plain.is_empty() || plain == "." || plain == ".." {
            return Err(NameError::Directory { name: name.to_owned() });
        }
        let path = format!("{ROOT}{plain}");
        let over = path.encode_utf16().count().saturating_sub(LONGEST);
        if over > 0 {
            let len = name.len();
            return Err(NameError::TooLong { name: name.to_owned(), len, limit: len.saturating_sub(over) });
        }
        Ok(Place { path })
    }

    /// The same names are everybody's.
    pub(crate) fn of_user(_: u32, name: &str) -> Result<Self, NameError> {
        Err(NameError::Unsupported {
            name: name.to_owned(),
            why: "on Windows a name is no user's; use the plain name, and `trust` to say whose server may answer",
        })
    }

    pub(crate) fn dotnet(name: &str) -> Result<Self, NameError> {
        Place::of(name)
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// What a client can do that finds no server: nothing that depends on the name.
    pub(crate) fn hint(&self) -> &'static str {
        ""
    }

    /// The same: a pipe's path does not tell whose it is.
    pub(crate) fn own_path(&self) -> &Path {
        Path::new(&self.path)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}
