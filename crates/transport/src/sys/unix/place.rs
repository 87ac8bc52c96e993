//! Where the socket of a name is.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::access::Reach;
use crate::error::NameError;

/// The longest path of a socket: `sun_path` less its closing nought.
const LONGEST: usize = 107;

/// Where the socket of a name is, or may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// In the user's private directory, or in its public one: as far as its server is
    /// to be reached.
    Own { private: PathBuf, public: PathBuf },
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
        let place = Place::Own {
            private: private_directory(own).join(name),
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
        let directory = env::var_os("TMPDIR").filter(|set| !set.is_empty()).unwrap_or("/tmp".into());
        Place::Path(Path::new(&directory).join(format!("CoreFxPipe_{name}"))).unless_too_long(name)
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

    /// What has to be locked to be alone with the name. The private lock is that of a
    /// public name too: a user's plain name has one server. The public one is for
    /// processes of the user that do not have the same `$XDG_RUNTIME_DIR`.
    pub(super) fn locks(&self, reach: Reach) -> Vec<PathBuf> {
        let mut locks = match self {
            Place::Own { private, .. } => vec![lock_of(private)],
            Place::Foreign { .. } | Place::Path(_) => vec![],
        };
        let lock = lock_of(self.path(reach));
        if !locks.contains(&lock) {
            locks.push(lock);
        }
        locks
    }

    /// Where a client looks for the server, in this order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let (first, second) = match self {
            Place::Own { private, public } => (private, Some(public)),
            Place::Foreign { public, .. } => (public, None),
            Place::Path(path) => (path, None),
        };
        [Some(first), second].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Whose server a client expects.
    pub(super) fn owner(&self) -> u32 {
        match self {
            Place::Foreign { owner, .. } => *owner,
            Place::Own { .. } | Place::Path(_) => own_uid(),
        }
    }

    fn unless_too_long(self, name: &str) -> Result<Self, NameError> {
        let longest = self.paths().map(|path| path.as_os_str().len()).max().unwrap_or(0);
        let over = longest.saturating_sub(LONGEST);
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

/// The directory for plain names that its user alone can enter.
fn private_directory(uid: u32) -> PathBuf {
    match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(runtime) if runtime.is_absolute() => runtime.join("panpipe"),
        _ => PathBuf::from(format!("/tmp/panpipe-{uid}")),
    }
}

/// The directory for plain names that others can pass through. No variable is asked:
/// those others have their own.
fn public_directory(uid: u32) -> PathBuf {
    match uid {
        0 => PathBuf::from("/run/panpipe"),
        _ => PathBuf::from(format!("/tmp/panpipe-{uid}.public")),
    }
}

fn lock_of(path: &Path) -> PathBuf {
    let mut lock = OsString::from(path);
    lock.push(".lock");
    lock.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_is_private_or_public_and_has_one_lock_in_common() {
        let place = Place::of("acme.store").unwrap();
        let (private, public) = (place.path(Reach::Owner), place.path(Reach::Everyone));
        assert_eq!(place.path(Reach::Group(5)), public);
        assert_eq!(place.paths().collect::<Vec<_>>(), [private, public]);
        assert_eq!(place.locks(Reach::Owner), [lock_of(private)]);
        assert_eq!(place.locks(Reach::Everyone), [lock_of(private), lock_of(public)]);
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
        let Err(NameError::TooLong { limit, .. }) = Place::of_user(other, &"x".repeat(108)) else {
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
            assert_eq!(place.locks(reach), [Path::new("/srv/pipe.lock")]);
        }
        for directory in ["/", "/srv/", "/srv/.", "/srv/.."] {
            assert!(matches!(Place::of(directory), Err(NameError::Directory { .. })), "{directory}");
        }
    }
}
