//! Processes of another user: turned away by the directory, by the socket's
//! mode, and, where both were opened, at the hello.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use panpipe_tests::process::Process;
use panpipe_tests::raw::{MAGIC, Raw, kind};
use panpipe_tests::sys::users::{Ids, run_as};
use panpipe_tests::users::can_be_somebody_else;

use crate::common::server_at;

const NOBODY: u32 = 65_534;

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
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
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

#[test]
fn a_server_lets_in_whom_it_allows_and_tells_the_others() {
    if !can_be_somebody_else() {
        return;
    }
    const GROUP: u32 = 50_200;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("client");
    fs::copy(env!("CARGO_BIN_EXE_client"), &program).unwrap();
    let ask = |server: &str, groups: &[u32]| {
        let mut command = Command::new(&program);
        command.args([&format!("0:{server}"), "about"]);
        run_as(&mut command, Ids { uid: NOBODY, gid: NOBODY, groups });
        Process::start(&mut command).line()
    };
    let name = panpipe_tests::unique_name("members");
    let _server = server_at(&name, &[&format!("allow_gid={GROUP}")]);
    // By a supplementary group; the handler knows who it is.
    let words = ask(&name, &[GROUP]);
    assert!(words.contains("uid: Some(65534)") && words.starts_with("Ok"), "{words}");
    let words = ask(&name, &[]);
    assert!(words.contains("may not be reached by this user"), "{words}");

    // A door that is open, and a rule behind it.
    let path = folder.path().join("pipe");
    let path = path.to_str().unwrap();
    let _server = server_at(path, &["allow_gid=50201"]);
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    let mut raw = Command::new(&program);
    raw.args([path, "about-anyones"]);
    run_as(&mut raw, Ids { uid: NOBODY, gid: NOBODY, groups: &[] });
    let words = Process::start(&mut raw).line();
    assert!(words.contains("Refused") && words.contains("members of groups 50201"), "{words}");

    let name = panpipe_tests::unique_name("anyone");
    let _server = server_at(&name, &["allow_anyone"]);
    assert!(ask(&name, &[]).starts_with("Ok"));
}
