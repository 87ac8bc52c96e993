//! Opens a path that another process has named.
//!
//! The lookup does not pass a magic link: a link of procfs that leads to an object of the
//! process that follows it, whatever the path in its text says.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fcntl_getfl, fcntl_setfl, fstat, fstatfs,
    ftruncate, open, openat, openat2, readlinkat,
};
use rustix::io::Errno;

use crate::path_opener::{OpenError, PathOpener};

/// File systems whose files differ with the process that opens or reads them.
const OF_THE_READER: [(u32, &str); 5] = [
    (PROC_SUPER_MAGIC as u32, "a file of procfs, which shows the server's own process"),
    (0xf97c_ff8c, "a file of SELinux, which answers by the server's label"),
    (0x4341_5d53, "a file of Smack, which answers by the server's label"),
    (0x7363_6673, "a file of a security module, which answers by the server's label"),
    (0x5a3c_69f0, "a file of AppArmor, which answers by the server's profile"),
];

/// How often a file that comes and goes meanwhile is tried.
const TRIES: usize = 8;

/// As many as the kernel follows.
const LINKS: usize = 40;

/// Opens a file for a peer, by an absolute path.
pub(crate) fn open_path(path: &Path, opener: &PathOpener) -> Result<File, OpenError> {
    open_by(path, opener, resolve)
}

/// A lookup: the path, how to open the file, the mode of a new one.
type Resolve = fn(&Path, OFlags, Mode) -> Result<OwnedFd, Errno>;

fn open_by(path: &Path, opener: &PathOpener, resolve: Resolve) -> Result<File, OpenError> {
    let refused = |what| OpenError::Refused { path: path.to_owned(), what };
    let failed = |errno: Errno| match errno {
        Errno::LOOP => refused("behind a link of procfs or behind too many links"),
        other => OpenError::Io { path: path.to_owned(), source: other.into() },
    };
    for _ in 0..TRIES {
        // Without opening it: to open a device can have effects of its own.
        let exists = match resolve(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(found) => {
                check(&found, opener.directories).map_err(failed)?.map_err(refused)?;
                if opener.create_new {
                    return Err(failed(Errno::EXIST));
                }
                true
            }
            Err(Errno::NOENT) if opener.create || opener.create_new => false,
            Err(other) => return Err(failed(other)),
        };
        // The kernel takes a mode with the flag for creating alone.
        let (create, mode) = match exists {
            true => (OFlags::empty(), Mode::empty()),
            false => (OFlags::CREATE | OFlags::EXCL, Mode::from_raw_mode(0o666)),
        };
        match resolve(path, flags(opener) | create, mode) {
            Ok(file) => {
                // Again, since the path may lead to another file by now.
                check(&file, opener.directories).map_err(failed)?.map_err(refused)?;
                if opener.truncate && exists {
                    ftruncate(&file, 0).map_err(failed)?;
                }
                let flags = fcntl_getfl(&file).map_err(failed)?;
                fcntl_setfl(&file, flags - OFlags::NONBLOCK).map_err(failed)?;
                return Ok(File::from(file));
            }
            // It came or went in between.
            Err(Errno::EXIST) if !exists && !opener.create_new => {}
            Err(Errno::NOENT) if exists && opener.create => {}
            Err(other) => return Err(failed(other)),
        }
    }
    Err(failed(Errno::AGAIN))
}

fn flags(opener: &PathOpener) -> OFlags {
    let writes = opener.write || opener.append;
    let access = match (opener.read, writes) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    };
    let append = if opener.append { OFlags::APPEND } else { OFlags::empty() };
    // What is no regular file neither blocks this thread nor becomes the terminal of this
    // process until it has been looked at.
    access | append | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK
}

/// Whether a file may be handed to a peer; if not, what it is.
fn check(file: &OwnedFd, directories: bool) -> Result<Result<(), &'static str>, Errno> {
    let magic = fstatfs(file)?.f_type;
    // The numbers of file systems are 32 bits long; some systems extend their sign.
    if let Some((_, what)) = OF_THE_READER.iter().find(|(known, _)| *known == magic as u32) {
        return Ok(Err(what));
    }
    Ok(match FileType::from_raw_mode(fstat(file)?.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory if directories => Ok(()),
        FileType::Directory => Err("a directory"),
        FileType::CharacterDevice | FileType::BlockDevice => Err("a device"),
        FileType::Fifo => Err("a FIFO"),
        FileType::Socket => Err("a socket"),
        _ => Err("no regular file"),
    })
}

/// Opens a path without passing a magic link.
fn resolve(path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    match openat2(CWD, path, flags, mode, ResolveFlags::NO_MAGICLINKS) {
        // The kernel is older than Linux 5.6, or a seccomp filter refuses the call: some answer
        // with an error that a file gives too. The walk ends with the same error in that case.
        Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => walk(path, flags, mode),
        other => other,
    }
}

/// The same by calls that every kernel has: one component after the other.
///
/// The walk passes no link of procfs at all, also none that is only text. It follows links in
/// directories that others can write to, whatever `fs.protected_symlinks` says: that setting
/// protects a process from links that it did not expect, and here the peer names the path.
fn walk(path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    let root = || open("/", DIRECTORY, Mode::empty());
    let mut at = root()?;
    let mut rest = components(path.as_os_str().as_bytes())?;
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let is_last = rest.is_empty();
        let by_name = |flags| openat(&at, &*name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode);
        let found = match by_name(OFlags::PATH) {
            Err(Errno::NOENT) if is_last && flags.contains(OFlags::CREATE) => return by_name(flags),
            found => found?,
        };
        if FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::Symlink {
            if is_last && flags.contains(OFlags::EXCL) {
                return Err(Errno::EXIST);
            }
            links += 1;
            if links > LINKS || fstatfs(&found)?.f_type == PROC_SUPER_MAGIC {
                return Err(Errno::LOOP);
            }
            let target = readlinkat(found.as_fd(), "", Vec::new())?;
            if target.as_bytes().starts_with(b"/") {
                at = root()?;
            }
            rest.extend(components(target.as_bytes())?);
        } else if !is_last {
            at = found;
        } else if flags.contains(OFlags::PATH) {
            return Ok(found);
        } else {
            return by_name(flags);
        }
    }
    // The root directory.
    openat(&at, ".", flags, mode)
}

/// The names in a path, the last one first. A `/` at the end is a last name `.`: what stands
/// before it has to be a directory.
fn components(path: &[u8]) -> Result<Vec<CString>, Errno> {
    let mut names: Vec<_> = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
    if path.ends_with(b"/") && !names.is_empty() {
        names.push(b".");
    }
    names.into_iter().rev().map(|name| CString::new(name).map_err(|_| Errno::INVAL)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{ErrorKind, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use rustix::fs::mknodat;

    use super::*;

    /// A directory that is removed with its value.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("panpipe-open-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Folder(path)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// By the kernel's lookup and by the walk.
    const BOTH: [Resolve; 2] = [resolve, walk];

    fn text(file: File) -> String {
        let mut text = String::new();
        { file }.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn regular_files_open_also_behind_links_of_the_file_system() {
        let folder = Folder::new("regular");
        fs::create_dir(folder.path("inner")).unwrap();
        fs::write(folder.path("inner/file"), "its text").unwrap();
        symlink("inner", folder.path("relative")).unwrap();
        symlink(folder.path("relative/file"), folder.path("absolute")).unwrap();
        for resolve in BOTH {
            for name in ["inner/file", "relative/file", "absolute", "inner/../relative//./file"] {
                let file = open_by(&folder.path(name), &PathOpener::new(), resolve).unwrap();
                assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::NONBLOCK));
                assert_eq!(text(file), "its text");
            }
            for name in ["inner/none", "none/file", "inner/file/", "inner/file/."] {
                let error = open_by(&folder.path(name), &PathOpener::new(), resolve).unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory), "{error}");
            }
            let error = open_by(&folder.path("inner"), &PathOpener::new(), resolve).unwrap_err();
            assert!(error.to_string().contains("a directory"), "{error}");
            let directories = PathOpener::new().directories(true);
            for path in [folder.path("inner"), folder.path("relative/"), "/".into()] {
                assert!(open_by(&path, &directories, resolve).unwrap().metadata().unwrap().is_dir());
            }
        }
    }

    #[test]
    fn paths_to_objects_of_this_process_are_refused() {
        let folder = Folder::new("magic");
        fs::write(folder.path("secret"), "secret").unwrap();
        let open_file = File::open(folder.path("secret")).unwrap();
        let open_folder = File::open(&folder.0).unwrap();
        let [file, directory] = [open_file.as_raw_fd(), open_folder.as_raw_fd()];
        let pid = std::process::id();
        symlink("/proc/self/maps", folder.path("to-maps")).unwrap();
        symlink(format!("/dev/fd/{file}"), folder.path("to-fd")).unwrap();
        symlink("/proc/self/fd", folder.path("to-fds")).unwrap();
        let inside = |name: &str| folder.path(name).to_str().unwrap().to_owned();
        let paths = [
            "/proc/self/maps".to_owned(),
            "/proc/self/environ".to_owned(),
            "/proc/thread-self/status".to_owned(),
            "/proc/../proc/self/./maps".to_owned(),
            "/proc/sys/kernel/ostype".to_owned(),
            format!("/proc/{pid}/maps"),
            format!("/proc/{pid}/fd/{file}"),
            format!("/proc/self/fd/{file}"),
            format!("/proc/self/fd/{directory}/secret"),
            format!("/proc/self/root{}/secret", folder.0.display()),
            "/proc/self/cwd/Cargo.toml".to_owned(),
            "/proc/self/exe".to_owned(),
            format!("/dev/fd/{file}"),
            "/dev/stdin".to_owned(),
            "/dev/stdout".to_owned(),
            inside("to-maps"),
            inside("to-fd"),
            format!("{}/{file}", inside("to-fds")),
        ];
        for resolve in BOTH {
            for path in &paths {
                for opener in
                    [PathOpener::new(), PathOpener::new().write(true).create(true).directories(true)]
                {
                    let error = open_by(Path::new(path), &opener, resolve).unwrap_err();
                    // Whoever is not root may not even write to some of them.
                    let is_refused = matches!(error, OpenError::Refused { .. });
                    assert!(is_refused || path.contains("/sys/"), "{error}");
                }
            }
        }
    }

    #[test]
    fn devices_fifos_and_sockets_are_refused_and_nothing_waits_for_them() {
        let folder = Folder::new("kinds");
        mknodat(CWD, folder.path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _listener = UnixListener::bind(folder.path("socket")).unwrap();
        for resolve in BOTH {
            for (path, what) in [
                (folder.path("fifo"), "a FIFO"),
                (folder.path("socket"), "a socket"),
                ("/dev/tty".into(), "a device"),
                ("/dev/null".into(), "a device"),
                ("/dev/ptmx".into(), "a device"),
            ] {
                let error = open_by(&path, &PathOpener::new(), resolve).unwrap_err();
                assert!(error.to_string().contains(what), "{error}");
            }
        }
    }

    #[test]
    fn files_are_created_truncated_and_appended_to_as_asked() {
        for (name, resolve) in [("kernel", BOTH[0]), ("walk", BOTH[1])] {
            let folder = Folder::new(name);
            let open = |path: &str, opener: PathOpener| open_by(&folder.path(path), &opener, resolve);
            let writing = PathOpener::new().read(false).write(true);
            let missing = open("new", writing.clone()).unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
            open("new", writing.clone().create(true)).unwrap().write_all(b"one").unwrap();
            open("new", PathOpener::new().append(true)).unwrap().write_all(b" two").unwrap();
            assert_eq!(text(open("new", PathOpener::new()).unwrap()), "one two");
            let exists = open("new", writing.clone().create_new(true)).unwrap_err();
            assert_eq!(exists.kind(), ErrorKind::AlreadyExists);
            open("new", writing.clone().create(true).truncate(true)).unwrap();
            assert_eq!(fs::read(folder.path("new")).unwrap(), b"");
            // A new file is not made where a link of somebody's leads.
            symlink(folder.path("elsewhere"), folder.path("link")).unwrap();
            assert!(open("link", writing.clone().create(true)).is_err());
            assert!(open("link", writing.create_new(true)).is_err());
            assert!(!folder.path("elsewhere").exists());
        }
    }

    #[test]
    fn links_that_lead_in_circles_end() {
        let folder = Folder::new("circle");
        symlink("two", folder.path("one")).unwrap();
        symlink("one", folder.path("two")).unwrap();
        for resolve in BOTH {
            let error = open_by(&folder.path("one"), &PathOpener::new(), resolve).unwrap_err();
            assert!(error.to_string().contains("too many links"), "{error}");
        }
    }

    #[test]
    fn relative_paths_and_contradictions_are_refused() {
        let error = PathOpener::new().open("Cargo.toml").unwrap_err();
        assert!(matches!(error, OpenError::Relative { .. }), "{error}");
        for opener in
            [PathOpener::new().create(true), PathOpener::new().truncate(true), PathOpener::new().read(false)]
        {
            assert_eq!(opener.open("/etc/passwd").unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}
