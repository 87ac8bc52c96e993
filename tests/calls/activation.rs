//! Sockets that a service manager has bound and passes on.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use panpipe_tests::process::Process;
use panpipe_tests::users::{Open, User, can_be_somebody_else};

use crate::common::{open_door, try_door, words_of};

const DOOR: &str = env!("CARGO_BIN_EXE_door");

fn door() -> Command {
    Command::new(DOOR)
}

fn manager(paths: &[&Path], name: &Path, settings: &[&str]) -> Process {
    let paths: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let name = name.to_str().unwrap();
    Process::start(door().args(["manage", &paths.join(","), "serve", name]).args(settings))
}

/// What a client says of the server that the system has named to it.
fn server_of(answer: &str) -> u32 {
    let named = answer.split("from process ").nth(1).and_then(|rest| rest.split(' ').next());
    named.and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn a_socket_that_was_passed_on_is_taken_up_and_left_when_its_server_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("pipe"), folder.path().join("other"));
    let name = path.to_str().unwrap();
    let mut manager = manager(&[&other, &path], &path, &["same"]);
    manager.wait_for("ready");
    let inode = fs::symlink_metadata(&path).unwrap().ino();
    let answer = try_door(&mut door(), name, None);
    // The server has said once more that it listens: the manager is not named.
    let server = server_of(&answer);
    assert_ne!(server, manager.id());
    // The one socket is its own and no child's; the other is not its business.
    let information = fs::read_to_string(format!("/proc/{server}/fdinfo/4")).unwrap();
    let flags = information.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    let close_on_exec = 0o2_000_000;
    assert_ne!(u32::from_str_radix(flags, 8).unwrap() & close_on_exec, 0, "{information}");
    assert!(fs::read_link(format!("/proc/{server}/fd/3")).unwrap().to_str().unwrap().starts_with("socket:"));

    manager.nudge();
    assert_eq!(words_of(&manager), format!("ended {server}"));
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), inode);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing was locked");
    // Who comes between two servers waits for the second.
    let waiting = Process::start(door().args(["connect", name]));
    manager.nudge();
    manager.wait_for("ready");
    assert!(words_of(&waiting).starts_with("good day to you"));
    let successor = server_of(&try_door(&mut door(), name, None));
    assert_ne!(successor, server);
    assert!(manager.finish().success());
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), inode);
}

#[test]
fn a_socket_that_was_passed_on_is_taken_up_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let manager = manager(&[&path], &path, &["same", "twice"]);
    let words = manager.line();
    manager.wait_for("ready");
    let server = server_of(&try_door(&mut door(), path.to_str().unwrap(), None));
    assert!(words.contains(&format!("is in use: process {server} listens there")), "{words}");
    assert!(manager.finish().success());
}

#[test]
fn what_was_passed_to_another_or_for_another_path_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("pipe"), folder.path().join("other"));
    let manager = manager(&[&other], &path, &["same"]);
    manager.wait_for("ready");
    assert!(try_door(&mut door(), path.to_str().unwrap(), None).starts_with("good day to you"));
    assert!(manager.finish().success());
    assert!(!path.exists() && other.exists());

    for (pid, fds) in [("1", "1"), ("", "1"), ("nobody", "1")] {
        let command = &mut door();
        command.env("LISTEN_PID", pid).env("LISTEN_FDS", fds);
        let (server, words) = open_door(command, path.to_str().unwrap(), "same");
        assert_eq!(words, "ready");
        assert!(server.finish().success());
        assert!(!path.exists());
    }
}

#[test]
fn the_mode_of_a_socket_that_was_passed_on_decides_nothing() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let (friend, stranger) = (User::new(), User::new());
    let path = open.path("pipe");
    let manager = manager(&[&path], &path, &[&format!("uids:{}", friend.uid)]);
    manager.wait_for("ready");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let name = path.to_str().unwrap();
    let answer = try_door(&mut stranger.command(&open.program), name, Some("anyone"));
    assert!(answer.starts_with("turned away"), "{answer}");
    let answer = try_door(&mut friend.command(&open.program), name, Some("uids:0"));
    assert!(answer.starts_with("good day to you"), "{answer}");
    assert!(manager.finish().success());
}
