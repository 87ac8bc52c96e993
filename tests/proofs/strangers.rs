//! Processes of another user: turned away by the directory, by the socket's
//! mode, and, where both were opened, at the hello.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use panpipe_tests::process::Process;
use panpipe_tests::raw::{MAGIC, Raw, kind};

use crate::common::server_at;

const NOBODY: u32 = 65_534;

/// Only root can be somebody else.
fn can_be_somebody_else() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: a process of another user cannot be run without being root");
    }
    root
}

#[test]
fn a_client_of_another_user_does_not_get_in() {
    if !can_be_somebody_else() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The program where another user can run it.
    let program = folder.path().join("client");
    fs::copy(env!("CARGO_BIN_EXE_client"), &program).unwrap();
    let path = folder.path().join("pipe");
    let name = path.to_str().unwrap();
    let _server = server_at(name, &[]);
    let stranger = || {
        let mut stranger =
            Process::start(Command::new(&program).args([name, "about"]).uid(NOBODY).gid(NOBODY));
        let words = stranger.line();
        assert!(!stranger.wait().success());
        words
    };
    let words = stranger();
    assert!(words.contains("may not be reached by this user"), "{words}");
    // Somebody has opened the door: the client still talks to its own user's servers only.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let words = stranger();
    assert!(words.contains("belongs to user 0") && words.contains("nothing was sent"), "{words}");
}

#[test]
fn a_server_refuses_another_user_in_words_before_it_reads() {
    if !can_be_somebody_else() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // A server of nobody's, in a directory of nobody's, and root comes.
    let program = folder.path().join("server");
    fs::copy(env!("CARGO_BIN_EXE_server"), &program).unwrap();
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    let path = own.join("pipe");
    let name = path.to_str().unwrap();
    let server = Process::start(Command::new(&program).arg(name).uid(NOBODY).gid(NOBODY));
    server.wait_for("ready");
    let mut raw = Raw::over(std::os::unix::net::UnixStream::connect(&path).unwrap());
    raw.send(MAGIC);
    raw.expect_magic();
    let refusal = raw.frame();
    assert_eq!((refusal.kind, refusal.body[0]), (kind::REFUSE, 5));
    assert!(refusal.words().contains("its own user only"), "{}", refusal.words());
    assert!(raw.to_the_end().is_empty());
}
