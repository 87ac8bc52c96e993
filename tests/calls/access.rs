//! Who may come in, under which name: processes of several users.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use panpipe_tests::process::Process;
use panpipe_tests::users::{Open, User, can_be_somebody_else, unused_id};
use panpipe_tests::{raw, unique_name};
use panpipe_transport::{Access, BindError, Listener};

use crate::common::{open_door, try_door};

const DOOR: &str = env!("CARGO_BIN_EXE_door");

/// Where the plain names of root are that others reach.
fn public_path(name: &str) -> PathBuf {
    Path::new("/run/panpipe").join(name)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A server of root's at a plain name, which is there.
fn serve(name: &str, access: &str) -> Process {
    let (server, words) = open_door(&mut Command::new(DOOR), name, access);
    assert_eq!(words, "ready", "{access}");
    server.serving(name).serving_at(&public_path(name))
}

#[track_caller]
fn is_in(words: &str) {
    assert!(words.starts_with("good day to you"), "{words}");
}

#[track_caller]
fn is_turned_away(words: &str) {
    assert!(words.starts_with("turned away"), "{words}");
}

#[test]
fn each_kind_of_access_lets_in_its_users_and_nobody_else() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let (one, group) = (User::new(), unused_id());
    // By one of many supplementary groups, by its own, and by neither.
    let many: Vec<u32> = (200..300).chain([group]).collect();
    let (supplementary, own) = (User::of_groups(unused_id(), &many), User::of_groups(group, &[]));
    let name = unique_name("access");
    let theirs = format!("user:0:{name}");
    let try_as = |user: &User| try_door(&mut user.command(&open.program), &theirs, None);
    let try_as_root = || try_door(&mut Command::new(DOOR), &name, None);

    let server = serve(&name, "same");
    is_in(&try_as_root());
    let words = try_as(&one);
    assert!(words.contains("no server listens at /run/panpipe/"), "{words}");
    assert_eq!(mode(&raw::path_of(&name)), 0o600);
    assert!(!public_path(&name).exists());
    assert!(server.finish().success());

    let uid = one.uid;
    let server = serve(&name, &format!("uids:{uid},4"));
    is_in(&try_as_root());
    is_in(&try_as(&one));
    is_turned_away(&try_as(&own));
    assert_eq!(mode(&public_path(&name)), 0o666);
    assert_eq!(mode(Path::new("/run/panpipe")), 0o711);
    assert!(!raw::path_of(&name).exists());
    assert!(server.finish().success());
    assert!(!public_path(&name).exists());

    // One group: the file's own mode keeps others off.
    let server = serve(&name, &format!("gids:{group}"));
    is_in(&try_as_root());
    is_in(&try_as(&supplementary));
    is_in(&try_as(&own));
    let words = try_as(&one);
    assert!(words.contains("may not be reached by this user"), "{words}");
    assert_eq!((mode(&public_path(&name)), group_of(&public_path(&name))), (0o660, group));
    assert!(server.finish().success());

    let server = serve(&name, &format!("gids:{group},{}", group + 1_000_000));
    is_in(&try_as(&supplementary));
    is_in(&try_as(&own));
    is_turned_away(&try_as(&one));
    assert_eq!((mode(&public_path(&name)), group_of(&public_path(&name))), (0o666, 0));
    assert!(server.finish().success());

    let server = serve(&name, "anyone");
    for user in [&one, &own, &supplementary] {
        is_in(&try_as(user));
    }
    assert!(server.finish().success());

    // A closure decides alone.
    for rule in ["when", "when_async"] {
        let server = serve(&name, &format!("{rule}:{uid}"));
        is_in(&try_as(&one));
        is_turned_away(&try_as(&own));
        is_turned_away(&try_as_root());
        assert!(server.finish().success());
    }

    let server = serve(&name, "panic");
    is_turned_away(&try_as(&one));
    is_turned_away(&try_as_root());
    assert!(server.finish().success());

    let server = serve(&name, &format!("panic+uids:{uid}"));
    is_in(&try_as(&one));
    is_in(&try_as_root());
    is_turned_away(&try_as(&own));
    assert!(server.finish().success());
}

fn group_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().gid()
}

#[test]
fn an_ordinary_user_serves_others_under_its_own_name() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let (server, friend, stranger) = (User::new(), User::new(), User::new());
    let access = format!("uids:{}", friend.uid);
    let theirs = format!("user:{}:store", server.uid);
    // Whatever its umask takes away or leaves.
    for umask in ["umask=077", "umask=000"] {
        let command = &mut server.command(&open.program);
        let door = Process::start(command.args(["serve", "store", &access, umask]));
        door.wait_for("ready");
        let path = server.public_directory().join("store");
        assert_eq!((mode(&server.public_directory()), mode(&path)), (0o711, 0o666));
        assert_eq!(mode(&server.private_directory()), 0o700);
        is_in(&try_door(&mut friend.command(&open.program), &theirs, None));
        is_turned_away(&try_door(&mut stranger.command(&open.program), &theirs, None));
        is_turned_away(&try_door(&mut Command::new(DOOR), &theirs, None));
        // The user itself finds it by its plain name and by its full one.
        is_in(&try_door(&mut server.command(&open.program), "store", None));
        is_in(&try_door(&mut server.command(&open.program), &theirs, None));
        assert!(door.finish().success());
        assert_eq!(fs::read_dir(server.public_directory()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(server.private_directory()).unwrap().count(), 0);
    }
}

#[test]
fn a_file_that_cannot_be_given_to_the_group_is_open_and_the_group_checked() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let group = unused_id();
    let (server, member, stranger) = (User::new(), User::of_groups(unused_id(), &[group]), User::new());
    let (_door, words) = open_door(&mut server.command(&open.program), "store", &format!("gids:{group}"));
    assert_eq!(words, "ready");
    assert_eq!(mode(&server.public_directory().join("store")), 0o666);
    let theirs = format!("user:{}:store", server.uid);
    is_in(&try_door(&mut member.command(&open.program), &theirs, None));
    is_turned_away(&try_door(&mut stranger.command(&open.program), &theirs, None));
}

#[test]
fn a_user_has_one_server_of_a_plain_name_private_or_public() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let user = User::new();
    for (first, second) in [("same", "anyone"), ("anyone", "same"), ("anyone", "anyone")] {
        let (door, words) = open_door(&mut user.command(&open.program), "store", first);
        assert_eq!(words, "ready");
        let (_, words) = open_door(&mut user.command(&open.program), "store", second);
        assert!(words.contains(&format!("is in use: process {} listens there", door.id())), "{words}");
        is_in(&try_door(&mut user.command(&open.program), "store", None));
        assert!(door.finish().success());
    }
    // Where the two do not agree on the private directory it is the public one that tells.
    let elsewhere = open.folder_of("runtime", &user, 0o700);
    let (door, words) = open_door(&mut user.command(&open.program), "store", "anyone");
    assert_eq!(words, "ready");
    let other = &mut user.command(&open.program);
    let (_, words) = open_door(other.env("XDG_RUNTIME_DIR", elsewhere), "store", "anyone");
    assert!(words.contains(&format!("is in use: process {} listens there", door.id())), "{words}");
}

#[test]
fn a_public_directory_that_others_control_is_refused() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let (user, squatter) = (User::new(), User::new());
    let directory = user.public_directory();
    let refusal = || open_door(&mut user.command(&open.program), "store", "anyone").1;

    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::chown(&directory, Some(squatter.uid), Some(squatter.gid)).unwrap();
    let words = refusal();
    assert!(words.contains(&format!("belongs to user {}", squatter.uid)), "{words}");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    let words = refusal();
    assert!(words.contains(&format!("belongs to user {}", squatter.uid)), "{words}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);

    std::os::unix::fs::chown(&directory, Some(user.uid), Some(user.gid)).unwrap();
    for open_wide in [0o733, 0o731, 0o713, 0o777 | 0o1000] {
        fs::set_permissions(&directory, fs::Permissions::from_mode(open_wide)).unwrap();
        let words = refusal();
        assert!(words.contains("others can write in it") && words.contains("0711"), "{words}");
        assert_eq!(mode(&directory), open_wide, "it was repaired");
    }
    fs::remove_dir(&directory).unwrap();

    let target = open.folder_of("target", &user, 0o711);
    symlink(&target, &directory).unwrap();
    let words = refusal();
    assert!(words.contains("not a directory"), "{words}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    fs::remove_file(&directory).unwrap();
}

#[test]
fn the_name_of_a_user_is_nobody_elses() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let (user, impostor, client) = (User::new(), User::new(), User::new());
    let theirs = format!("user:{}:store", user.uid);
    let (_, words) = open_door(&mut impostor.command(&open.program), &theirs, "anyone");
    assert!(words.contains(&format!("is a name of user {}", user.uid)), "{words}");
    assert!(words.contains(&format!("this process is user {}", impostor.uid)), "{words}");

    // Who was there first with the directory serves nobody who asks for the user.
    let directory = user.public_directory();
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::chown(&directory, Some(impostor.uid), Some(impostor.gid)).unwrap();
    let path = directory.join("store");
    let (_door, words) = open_door(&mut impostor.command(&open.program), path.to_str().unwrap(), "anyone");
    assert_eq!(words, "ready");
    let words = try_door(&mut client.command(&open.program), &theirs, None);
    let told = format!("belongs to user {}, not to user {}", impostor.uid, user.uid);
    assert!(words.contains(&told) && words.contains("nothing was sent"), "{words}");
    // Unless the client says that it may.
    is_in(&try_door(&mut client.command(&open.program), &theirs, Some("anyone")));
    is_in(&try_door(&mut client.command(&open.program), &theirs, Some(&format!("uids:{}", impostor.uid))));
    let words = try_door(&mut client.command(&open.program), &theirs, Some(&format!("uids:{}", user.uid)));
    assert!(words.contains("is not trusted") && words.contains("nothing was sent"), "{words}");
    assert!(words.contains(&format!("users {}, {}", user.uid, client.uid)), "{words}");
}

#[tokio::test]
async fn a_path_for_others_is_where_others_can_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let name = path.to_str().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let error = Listener::bind_for(name, Access::anyone()).unwrap_err();
    assert!(matches!(error, BindError::Directory { .. }), "{error}");
    assert!(error.to_string().contains("only its owner can enter it"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    for passable in [0o711, 0o710, 0o701] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(passable)).unwrap();
        let listener = Listener::bind_for(name, Access::anyone()).unwrap();
        assert_eq!(mode(&path), 0o666);
        drop(listener);
        let listener = Listener::bind(name).unwrap();
        assert_eq!(mode(&path), 0o600);
        drop(listener);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_name_of_dotnets_is_where_dotnet_looks() {
    let folder = tempfile::tempdir().unwrap();
    let door = || {
        let mut command = Command::new(DOOR);
        command.env("TMPDIR", folder.path());
        command
    };
    let (server, words) = open_door(&mut door(), "dotnet:acme.store", "same");
    assert_eq!(words, "ready");
    let path = folder.path().join("CoreFxPipe_acme.store");
    assert_eq!(mode(&path), 0o600);
    is_in(&try_door(&mut door(), "dotnet:acme.store", None));
    is_in(&try_door(&mut door(), path.to_str().unwrap(), None));
    assert!(server.finish().success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    // Without the variable, or with nothing in it.
    let name = unique_name("dotnet");
    let path = PathBuf::from(format!("/tmp/CoreFxPipe_{name}"));
    let (server, words) = open_door(door().env("TMPDIR", ""), &format!("dotnet:{name}"), "anyone");
    let server = server.serving_at(&path);
    assert_eq!(words, "ready");
    is_in(&try_door(door().env_remove("TMPDIR"), &format!("dotnet:{name}"), None));
    assert_eq!(mode(&path), 0o666);
    assert!(server.finish().success());
    assert!(!path.exists());

    let say = |name: &str| try_door(door().env_remove("TMPDIR"), name, None);
    let long = say(&format!("dotnet:{}", "x".repeat(100)));
    assert!(long.contains("100 bytes long, it may be 91"), "{long}");
    assert!(say("dotnet:a/b").contains("slash"));
    assert!(say("dotnet:Anonymous").contains(".NET keeps this name for itself"));
    assert!(say("dotnet:").contains("empty"));
}

#[tokio::test]
async fn a_name_in_use_says_which_process_has_it() {
    let name = unique_name("holder");
    let holder = serve(&name, "same");
    let error = Listener::bind(&name).unwrap_err();
    assert!(matches!(error, BindError::InUse { pid: Some(pid), .. } if pid == holder.id()), "{error}");
    assert!(error.to_string().contains(&format!("process {} listens there", holder.id())), "{error}");
    assert!(holder.finish().success());
    // A server of another kind holds no lock: the system tells who it is.
    let path = raw::path_of(&name);
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = Listener::bind(&name).unwrap_err();
    fs::remove_file(&path).unwrap();
    assert!(matches!(error, BindError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    drop(other);
}
