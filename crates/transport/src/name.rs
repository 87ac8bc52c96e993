//! The name of a pipe: what a server listens on and clients connect to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::NameError;
use crate::sys;

/// The name of a named pipe: a plain name such as `"acme.store"`, or an
/// absolute path.
///
/// On Unix a plain name stands for a socket in a directory of its user's. Which one
/// depends on whom its server lets in: where that is its own user alone, one that
/// nobody else can enter, `$XDG_RUNTIME_DIR/panpipe`, or `/tmp/panpipe-UID` where
/// there is no such variable; else one that others can pass through,
/// `/tmp/panpipe-UID.public`, or `/run/panpipe` for root. A client of the same user
/// finds either, a client of another user the second, by [`of_user`](Self::of_user).
/// A server removes its socket and the lock file beside it when it ends. One that is killed
/// leaves both, and the next server of the name takes them over.
///
/// A cron job, a service or `su` has no `XDG_RUNTIME_DIR`, and a login session has
/// `/run/user/UID`. Clients of one look for the servers of the other too, and a name has
/// one server among both. Any other value of the variable is a world of its own, as for a
/// test. A directory of another user, as `sudo -E` leaves it, is ignored with a warning.
///
/// On Windows a plain name stands for `\\.\pipe\NAME`.
///
/// ```
/// use panpipe_transport::PipeName;
///
/// let name = PipeName::new("acme.store")?;
/// assert_eq!(name.to_string(), "acme.store");
/// assert!(PipeName::new("acme/store").is_err());
/// # Ok::<(), panpipe_transport::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PipeName {
    name: String,
    place: sys::Place,
}

impl PipeName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// When no pipe can have this name; the error says why.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check(name)?;
        Ok(PipeName { place: sys::Place::of(name)?, name: name.to_owned() })
    }

    /// The plain name of a server that another user runs and lets others use. A client
    /// of it talks to that user's server and to nobody else's.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use panpipe_transport::PipeName;
    ///
    /// const ROOT: u32 = 0;
    /// let name = PipeName::of_user(ROOT, "acme.store")?;
    /// # let _ = name;
    /// # }
    /// # Ok::<(), panpipe_transport::NameError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When no pipe can have this name, and on Windows, where names are nobody's.
    pub fn of_user(uid: u32, name: &str) -> Result<Self, NameError> {
        check(name)?;
        Ok(PipeName { place: sys::Place::of_user(uid, name)?, name: name.to_owned() })
    }

    /// The name of a pipe as .NET's `NamedPipeServerStream` and
    /// `NamedPipeClientStream` know it: on Unix a socket, `CoreFxPipe_NAME` in
    /// `$TMPDIR` or in `/tmp`, or an absolute path as it is; on Windows `\\.\pipe\NAME`.
    ///
    /// # Errors
    ///
    /// When no pipe can have this name.
    pub fn dotnet(name: &str) -> Result<Self, NameError> {
        check(name)?;
        if name.eq_ignore_ascii_case("anonymous") {
            return Err(NameError::Unsupported {
                name: name.to_owned(),
                why: ".NET keeps this name for itself",
            });
        }
        Ok(PipeName { place: sys::Place::dotnet(name)?, name: name.to_owned() })
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Where the pipe is, as long as it is this process's own user's alone: of a FIFO,
    /// what a shell script writes to.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.own_path()
    }

    pub(crate) fn place(&self) -> &sys::Place {
        &self.place
    }
}

/// What holds of a name of any kind.
fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.contains('\0') {
        return Err(NameError::Character { name: name.to_owned() });
    }
    Ok(())
}

impl fmt::Display for PipeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for PipeName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        PipeName::new(name)
    }
}

impl TryFrom<&str> for PipeName {
    type Error = NameError;

    fn try_from(name: &str) -> Result<Self, NameError> {
        PipeName::new(name)
    }
}

impl TryFrom<String> for PipeName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        PipeName::new(&name)
    }
}

impl TryFrom<&String> for PipeName {
    type Error = NameError;

    fn try_from(name: &String) -> Result<Self, NameError> {
        PipeName::new(name)
    }
}

/// An absolute path is a name as it is; a relative one is a plain name, without a slash.
impl TryFrom<&Path> for PipeName {
    type Error = NameError;

    fn try_from(path: &Path) -> Result<Self, NameError> {
        match path.to_str() {
            Some(name) => PipeName::new(name),
            None => Err(NameError::Unsupported {
                name: path.to_string_lossy().into_owned(),
                why: "the path is not UTF-8; use another one",
            }),
        }
    }
}

impl TryFrom<&PathBuf> for PipeName {
    type Error = NameError;

    fn try_from(path: &PathBuf) -> Result<Self, NameError> {
        PipeName::try_from(path.as_path())
    }
}

impl TryFrom<PathBuf> for PipeName {
    type Error = NameError;

    fn try_from(path: PathBuf) -> Result<Self, NameError> {
        PipeName::try_from(path.as_path())
    }
}

impl From<&PipeName> for PipeName {
    fn from(name: &PipeName) -> Self {
        name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_name() {
        let path = Path::new("plain");
        assert_eq!(PipeName::try_from(path), PipeName::new("plain"));
        assert_eq!(PipeName::try_from(path.to_owned()), PipeName::new("plain"));
        assert!(matches!(PipeName::try_from(&Path::new("a").join("b")), Err(NameError::Slash { .. })));
    }

    #[test]
    fn a_bad_name_is_told_what_is_wrong_with_it() {
        assert_eq!(PipeName::new(""), Err(NameError::Empty));
        assert!(matches!(PipeName::new("a/b"), Err(NameError::Slash { .. })));
        assert!(matches!(PipeName::new("a\0b"), Err(NameError::Character { .. })));
        assert!(matches!(PipeName::new(".."), Err(NameError::Directory { .. })));
        let long = "x".repeat(300);
        let Err(NameError::TooLong { len, limit, .. }) = PipeName::new(&long) else {
            panic!("too long a name was taken")
        };
        assert_eq!(len, 300);
        assert!(PipeName::new(&"x".repeat(limit)).is_ok());
        assert!(PipeName::new(&"x".repeat(limit + 1)).is_err());
    }
}
