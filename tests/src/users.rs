//! Processes of other users. Only root can run them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::sys::users::{Ids, run_as};

/// Whether tests with several users can run; says so where they cannot.
pub fn can_be_somebody_else() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: a process of another user cannot be run without being root");
    }
    root
}

/// A number for a user or a group that nobody else has.
pub fn unused_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    100_000 + std::process::id() * 256 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A user that exists for one test. What panpipe makes for it goes with it.
#[derive(Debug)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// Its own group.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
}

impl User {
    /// A user of a group of its own.
    pub fn new() -> User {
        User::of_groups(unused_id(), &[])
    }

    /// A user of these groups.
    pub fn of_groups(gid: u32, groups: &[u32]) -> User {
        User { uid: unused_id(), gid, groups: groups.to_vec() }
    }

    /// A program that runs as this user, whose names are where they are without any
    /// variables.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        run_as(&mut command, Ids { uid: self.uid, gid: self.gid, groups: &self.groups });
        command.env_remove("XDG_RUNTIME_DIR").env_remove("TMPDIR");
        command
    }

    /// Its directory for names that nobody else reaches.
    pub fn private_directory(&self) -> PathBuf {
        PathBuf::from(format!("/tmp/panpipe-{}", self.uid))
    }

    /// Its directory for names that others reach.
    pub fn public_directory(&self) -> PathBuf {
        PathBuf::from(format!("/tmp/panpipe-{}.public", self.uid))
    }
}

impl Default for User {
    fn default() -> Self {
        User::new()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for directory in [self.private_directory(), self.public_directory()] {
            let _ = fs::remove_dir_all(&directory).or_else(|_| fs::remove_file(&directory));
        }
    }
}

/// A folder that everybody can enter, with a program in it that everybody can run.
#[derive(Debug)]
pub struct Open {
    folder: TempDir,
    /// The program.
    pub program: PathBuf,
}

impl Open {
    /// Copies the program there.
    pub fn with(program: &str) -> Open {
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let copy = folder.path().join("program");
        // By another process: a program that this one has open for writing while it
        // starts others could not be run.
        let copied = Command::new("cp").arg(program).arg(&copy).status();
        assert!(copied.is_ok_and(|status| status.success()), "{program} can be copied");
        Open { folder, program: copy }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder in it that belongs to a user.
    pub fn folder_of(&self, name: &str, user: &User, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).expect("it is not there yet");
        std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).expect("root can give it away");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("root can");
        path
    }
}
