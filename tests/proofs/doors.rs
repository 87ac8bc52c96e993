//! Proofs 22 and 24: processes of two users at one door.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use panpipe_tests::process::Process;
use panpipe_tests::users::{Open, User, can_be_somebody_else, unused_id};
use panpipe_tests::{PATIENCE, raw, system, times, unique_name};

use crate::common::{open_door, server, try_door};

const DOOR: &str = env!("CARGO_BIN_EXE_door");

/// Knocks as another user at a name that is bound and dropped over and over, with an
/// umask that takes nothing away, until the door was there often enough.
fn nobody_gets_in(open: &Open, name: &str, access: &str, path: &Path) {
    let stranger = User::new();
    let swinging =
        Process::start(Command::new(DOOR).args(["swing", name, access])).serving(name).serving_at(path);
    swinging.wait_for("ready");
    let (start, mut bound, mut denied, mut absent) = (Instant::now(), 0, 0, 0);
    while bound < times(500, 5000) || denied + absent < 10_000 || denied < times(50, 10_000) {
        let so_far = format!("{access}: bound {bound} times, {denied} denied, {absent} found nobody");
        assert!(start.elapsed() < 5 * PATIENCE, "{so_far}");
        let mut knocks = stranger.command(&open.program);
        let knocking = Process::start(knocks.args(["knock", path.to_str().unwrap(), "5000"]));
        let line = knocking.line();
        let counts: Vec<usize> = line.split(' ').map(|count| count.parse().unwrap()).collect();
        assert_eq!(counts[0], 0, "{access}: the stranger got in: {line}");
        denied += counts[1];
        absent += counts[2];
        bound += 100 * swinging.printed();
        let names = system::socket_names(swinging.id());
        assert!(!names.iter().any(|name| name.starts_with('@')), "{names:?}");
    }
    println!("{access}: bound {bound} times; 0 got in, {denied} were denied, {absent} found nobody");
    assert!(swinging.finish().success());
}

#[test]
fn proof_22_while_a_name_is_bound_no_other_user_gets_in() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let path = open.path("pipe");
    // The directory is open to all: what keeps the stranger off is the socket's mode.
    nobody_gets_in(&open, path.to_str().unwrap(), "same", &path);
    nobody_gets_in(&open, path.to_str().unwrap(), &format!("gids:{}", unused_id()), &path);
    // And with a directory before it.
    let name = unique_name("swing");
    nobody_gets_in(&open, &name, "same", &raw::path_of(&name));
}

#[test]
fn proof_22_no_abstract_socket_is_made() {
    let (server, name) = server(&[]);
    let names = system::socket_names(server.id());
    assert_eq!(names, [raw::path_of(&name).to_str().unwrap()]);
    let name = unique_name("door");
    let (door, words) = open_door(&mut Command::new(DOOR), &name, "anyone");
    let door = door.serving(&name);
    assert_eq!(words, "ready");
    let names = system::socket_names(door.id());
    assert!(names.len() == 1 && names[0].starts_with('/') && names[0].ends_with(&name), "{names:?}");
    assert!(door.finish().success());
}

#[test]
fn proof_24_nothing_of_a_client_of_the_wrong_user_is_decoded() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let (right, wrong) = (User::new(), User::new());
    let path = open.path("pipe");
    let name = path.to_str().unwrap();
    let (door, words) = open_door(&mut Command::new(DOOR), name, &format!("uids:{}", right.uid));
    assert_eq!(words, "ready");
    for _ in 0..times(20, 200) {
        let words = try_door(&mut wrong.command(&open.program), name, Some("uids:0"));
        assert!(words.starts_with("turned away"), "{words}");
    }
    // Those of the right user are, which shows that it would be seen.
    for _ in 0..2 {
        let words = try_door(&mut right.command(&open.program), name, Some("uids:0"));
        assert!(words.starts_with("good day to you"), "{words}");
    }
    assert_eq!(door.last_lines(), ["decoded", "decoded"]);
}

#[test]
fn proof_24_nothing_of_a_server_of_the_wrong_user_is_decoded_and_nothing_sent_to_it() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let (user, wrong) = (User::new(), User::new());
    let folder = open.folder_of("wrong", &wrong, 0o711);
    let path = folder.join("pipe");
    let name = path.to_str().unwrap();
    // It lets anyone in and speaks first.
    let mut command = wrong.command(&open.program);
    let door = Process::start(command.args(["serve", name, "anyone", "greet"]));
    door.wait_for("ready");
    let tries = times(20, 200);
    for _ in 0..tries {
        let client = Process::start(user.command(&open.program).args(["connect", name]));
        let words = client.rest();
        assert_eq!(words.len(), 1, "{words:?}");
        let told = format!("belongs to user {}, not to user {}; nothing was sent", wrong.uid, user.uid);
        assert!(words[0].contains(&told), "{words:?}");
        let trusting = format!("uids:{}", user.gid);
        let client = Process::start(user.command(&open.program).args(["connect", name, &trusting]));
        let words = client.rest();
        assert!(words.len() == 1 && words[0].contains("is not trusted"), "{words:?}");
    }
    // A client that trusts it decodes what it says, and is heard.
    let client = Process::start(user.command(&open.program).args(["connect", name, "anyone"]));
    let words = client.rest();
    assert_eq!(words[0], "decoded");
    assert!(words[1].starts_with("welcome"), "{words:?}");
    let heard = door.last_lines();
    assert_eq!(heard.len(), 2 * tries + 1, "{heard:?}");
    let unheard = format!("heard 0 bytes of user {}", user.uid);
    assert_eq!(heard.iter().filter(|line| **line == unheard).count(), 2 * tries, "{heard:?}");
}
