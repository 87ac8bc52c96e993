//! Where the socket of a name is.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use rustix::io::Errno;

use crate::access::Reach;
use crate::error::NameError;

/// The longest path of a socket: `sun_path` less its closing zero.
pub(super) const LONGEST: usize = 107;

/// The longest name in a directory whose path is too long: a socket there is reached through the
/// directory's descriptor, by `/proc/self/fd/NUMBER/NAME`.
const LONGEST_NAME: usize = LONGEST - "/proc/self/fd/1234567/".len();

/// Where the socket of a name is, or may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// In the user's private directory, or in its public one: as far as its server is
    /// to be reached. Clients also try the private directory that the user's servers have in
    /// another environment.
    Own { private: PathBuf, other_private: Option<PathBuf>, public: PathBuf },
    /// In the public directory of another user.
    Foreign { owner: u32, public: PathBuf },
    /// Anywhere.
    Path(PathBuf),
}

impl Place {
    pub(crate) fn of(name: &str) -> Result<Self, NameError> {
        if name.starts_with('/') {
            let path = PathBuf::from(name);
            if path.file_name().is_none() || name.ends_with('/') || name.ends_with("/.") {
                return Err(NameError::Directory { name: name.to_owned() });
            }
            return Place::Path(path).unless_too_long(name);
        }
        check_plain(name)?;
        let own = own_uid();
        let (private, other) = private_directories(own);
        let place = Place::Own {
            private: private.join(name),
            other_private: other.map(|other| other.join(name)),
            public: public_directory(own).join(name),
        };
        place.unless_too_long(name)
    }

    pub(crate) fn of_user(owner: u32, name: &str) -> Result<Self, NameError> {
        check_plain(name)?;
        if owner == own_uid() {
            return Place::of(name);
        }
        Place::Foreign { owner, public: public_directory(owner).join(name) }.unless_too_long(name)
    }

    pub(crate) fn dotnet(name: &str) -> Result<Self, NameError> {
        if name.starts_with('/') {
            return Place::of(name);
        }
        if name.contains('/') {
            return Err(NameError::Slash { name: name.to_owned() });
        }
        let directory = trusted_variable("TMPDIR").unwrap_or("/tmp".into());
        let directory = std::path::absolute(&directory).unwrap_or_else(|_| directory.into());
        Place::Path(directory.join(format!("CoreFxPipe_{name}"))).unless_too_long(name)
    }

    /// Where a server's socket goes that is to be reached so far.
    pub(super) fn path(&self, reach: Reach) -> &Path {
        match self {
            Place::Own { private, .. } if reach == Reach::Owner => private,
            Place::Own { public, .. } | Place::Foreign { public, .. } => public,
            Place::Path(path) => path,
        }
    }

    /// Where what belongs to the user alone is.
    pub(crate) fn own_path(&self) -> &Path {
        self.path(Reach::Owner)
    }

    /// Where a client looks for the server, in this order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let paths = match self {
            Place::Own { private, other_private, public } => {
                [Some(private), other_private.as_ref(), Some(public)]
            }
            Place::Foreign { public: path, .. } | Place::Path(path) => [Some(path), None, None],
        };
        paths.into_iter().flatten().map(PathBuf::as_path)
    }

    /// Those of them that only this user reaches.
    pub(super) fn private_paths(&self) -> impl Iterator<Item = &Path> {
        let is_plain = matches!(self, Place::Own { .. });
        self.paths().filter(move |path| !is_plain || self.is_private(path))
    }

    /// Whether a path is in a directory that only this user may enter.
    pub(super) fn is_private(&self, path: &Path) -> bool {
        matches!(self, Place::Own { private, other_private, .. }
            if path == private || other_private.as_deref() == Some(path))
    }

    /// What a client can do that finds no server.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Place::Own { .. } => {
                "; the server of another user is found by `PipeName::of_user`, and one that was started with another XDG_RUNTIME_DIR by the same value here"
            }
            Place::Foreign { .. } => {
                "; the server has to be started by that user, with an `Access` that lets others in"
            }
            Place::Path(_) => "",
        }
    }

    /// Whose server a client expects.
    pub(super) fn owner(&self) -> u32 {
        match self {
            Place::Foreign { owner, .. } => *owner,
            Place::Own { .. } | Place::Path(_) => own_uid(),
        }
    }

    fn unless_too_long(self, name: &str) -> Result<Self, NameError> {
        let over = |path: &Path| {
            let over_path = path.as_os_str().len().saturating_sub(LONGEST);
            if !cfg!(any(target_os = "linux", target_os = "android")) {
                return over_path;
            }
            let name = path.file_name().map_or(0, |name| name.len());
            over_path.min(name.saturating_sub(LONGEST_NAME))
        };
        let over = self.paths().map(over).max().unwrap_or(0);
        if over > 0 {
            let len = name.len();
            return Err(NameError::TooLong { name: name.to_owned(), len, limit: len.saturating_sub(over) });
        }
        Ok(self)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.paths().enumerate() {
            let or = if index > 0 { " or " } else { "" };
            write!(f, "{or}{}", path.display())?;
        }
        Ok(())
    }
}

fn check_plain(name: &str) -> Result<(), NameError> {
    if name.contains('/') {
        return Err(NameError::Slash { name: name.to_owned() });
    }
    if name == "." || name == ".." {
        return Err(NameError::Directory { name: name.to_owned() });
    }
    Ok(())
}

pub(super) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The directories for plain names that only their user can enter: the one for this process, and
/// the one for processes of the user in another environment, if there is one.
///
/// Cron jobs, services and `su` have no `XDG_RUNTIME_DIR`, and the user's session has the one
/// that its login manager has made. Any other value is a world of its own, as for a test.
fn private_directories(uid: u32) -> (PathBuf, Option<PathBuf>) {
    let session = PathBuf::from(format!("/run/user/{uid}"));
    let fallback = PathBuf::from(format!("/tmp/panpipe-{uid}"));
    let set = trusted_variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|set| set.is_absolute());
    match set {
        Some(set) if set == session && is_own(&session) => (session.join("panpipe"), Some(fallback)),
        Some(set) if set != session && is_usable(&set, &fallback) => (set.join("panpipe"), None),
        _ => (fallback, Some(session.join("panpipe"))),
    }
}

/// Whether a directory is there and is this user's own.
fn is_own(directory: &Path) -> bool {
    rustix::fs::stat(directory).is_ok_and(|stat| stat.st_uid == own_uid())
}

/// Whether names go into the directory of `XDG_RUNTIME_DIR`. That of another user, which `sudo -E`
/// and `su` leave set, is passed over: what this user made there would be in the other's way.
fn is_usable(set: &Path, instead: &Path) -> bool {
    static LOGGED: Once = Once::new();
    let owner = match rustix::fs::stat(set) {
        Ok(stat) if stat.st_uid == own_uid() => return true,
        Ok(stat) => format!("belongs to user {}, not to this user, {}", stat.st_uid, own_uid()),
        Err(Errno::ACCESS | Errno::PERM) => "cannot be entered by this user".to_owned(),
        // Binding says that it is not there.
        Err(_) => return true,
    };
    LOGGED.call_once(|| {
        tracing::warn!(
            "XDG_RUNTIME_DIR is ignored: {} {owner}; names are in {}",
            set.display(),
            instead.display()
        );
    });
    false
}

/// A variable of the environment, unless it is the word of a caller with other rights: a program
/// with the set-user-ID bit must not let its caller choose where its names are.
fn trusted_variable(name: &str) -> Option<OsString> {
    if has_more_rights_than_its_caller() {
        return None;
    }
    env::var_os(name).filter(|set| !set.is_empty())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn has_more_rights_than_its_caller() -> bool {
    // SAFETY: the call reads a number that the kernel has given to this process.
    let is_secure = unsafe { libc::getauxval(libc::AT_SECURE) };
    is_secure != 0
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn has_more_rights_than_its_caller() -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    geteuid() != getuid() || getegid() != getgid()
}

/// The directory for plain names that others can pass through. No variable is asked:
/// those others have their own.
fn public_directory(uid: u32) -> PathBuf {
    match uid {
        0 => PathBuf::from("/run/panpipe"),
        _ => PathBuf::from(format!("/tmp/panpipe-{uid}.public")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_is_private_or_public() {
        let place = Place::of("acme.store").unwrap();
        let (private, public) = (place.path(Reach::Owner), place.path(Reach::Everyone));
        assert_eq!(place.path(Reach::Group(5)), public);
        let paths: Vec<_> = place.paths().collect();
        assert_eq!((paths.first(), paths.last()), (Some(&private), Some(&public)));
        assert!(place.is_private(private) && !place.is_private(public));
        assert!(place.private_paths().all(|path| path != public));
        assert_eq!(place.owner(), own_uid());
        // One's own name in full is one's own name.
        assert_eq!(Place::of_user(own_uid(), "acme.store").unwrap(), place);
    }

    #[test]
    fn the_name_of_another_user_is_in_its_public_directory() {
        let other = own_uid() + 1;
        let place = Place::of_user(other, "acme.store").unwrap();
        assert_eq!(place.to_string(), format!("/tmp/panpipe-{other}.public/acme.store"));
        assert_eq!(place.owner(), other);
        assert_eq!(public_directory(0), Path::new("/run/panpipe"));
        for uid in [other, own_uid()] {
            for slash in ["a/b", "/a"] {
                assert!(matches!(Place::of_user(uid, slash), Err(NameError::Slash { .. })), "{slash}");
            }
            assert!(matches!(Place::of_user(uid, ".."), Err(NameError::Directory { .. })));
        }
        let Err(NameError::TooLong { limit, .. }) = Place::of_user(other, &"x".repeat(200)) else {
            panic!("too long a name was taken")
        };
        assert!(Place::of_user(other, &"x".repeat(limit)).is_ok());
        assert!(Place::of_user(other, &"x".repeat(limit + 1)).is_err());
    }

    #[test]
    fn an_absolute_path_is_itself_for_dotnet_too() {
        let place = Place::of("/srv/pipe").unwrap();
        assert_eq!(Place::dotnet("/srv/pipe").unwrap(), place);
        for reach in [Reach::Owner, Reach::Everyone] {
            assert_eq!(place.path(reach), Path::new("/srv/pipe"));
        }
        for directory in ["/", "/srv/", "/srv/.", "/srv/.."] {
            assert!(matches!(Place::of(directory), Err(NameError::Directory { .. })), "{directory}");
        }
    }
}
