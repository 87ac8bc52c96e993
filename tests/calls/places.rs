//! Where names are: runtime directories, umasks, namespaces, and files that disappear.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use panpipe::{Access, Limits, Server};
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
use panpipe_tests::process::Process;
use panpipe_tests::sys::places::{children_in_pid_namespace, in_user_namespace, with_umask, without_proc};
use panpipe_tests::sys::users::{Ids, run_as};
use panpipe_tests::users::{Open, User, can_be_somebody_else};
use panpipe_tests::{PATIENCE, eventually, unique_name};

use crate::common::{client, open_door, server_at, try_door};

const DOOR: &str = env!("CARGO_BIN_EXE_door");

#[track_caller]
fn is_in(words: &str) {
    assert!(words.starts_with("good day to you"), "{words}");
}

/// A server of a user's that has its name.
#[track_caller]
fn serve(command: &mut Command, name: &str, access: &str) -> Process {
    let (server, words) = open_door(command, name, access);
    assert_eq!(words, "ready");
    server
}

/// The directory of a user's login session, which goes with the test.
struct Session(PathBuf);

impl Session {
    fn of(user: &User) -> Session {
        let path = PathBuf::from(format!("/run/user/{}", user.uid));
        fs::create_dir_all(&path).unwrap();
        chown(&path, Some(user.uid), Some(user.gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Session(path)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        // Where no login manager has made it.
        let _ = fs::remove_dir("/run/user");
    }
}

#[test]
fn runtime_directory_of_another_user_is_passed_over() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let (user, other) = (User::new(), User::new());
    let runtime = open.folder_of("runtime", &user, 0o700);
    let (name, serve_as) = (unique_name("sudo"), |user: Option<&User>| {
        let mut command = user.map_or_else(|| Command::new(DOOR), |user| user.command(&open.program));
        command.env("XDG_RUNTIME_DIR", &runtime);
        command
    });
    // As `sudo -E` and `su` have it: before the user's own server, beside it and after it.
    for has_own in [false, true, false] {
        let own = has_own.then(|| serve(&mut serve_as(Some(&user)), &name, "same"));
        for foreign in [None, Some(&other)] {
            let server = serve(&mut serve_as(foreign), &name, "same");
            let words = try_door(&mut serve_as(foreign), &name, None);
            is_in(&words);
            assert!(words.contains(&format!("from process {} ", server.id())), "{words}");
            assert!(server.finish().success());
        }
        assert!(own.is_none_or(|own| own.finish().success()));
    }
    assert_eq!(fs::metadata(runtime.join("panpipe")).unwrap().uid(), user.uid);
}

#[test]
fn one_user_with_and_without_runtime_directory_has_one_server_of_a_name() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let user = User::new();
    let session = Session::of(&user);
    let with = || {
        let mut command = user.command(&open.program);
        command.env("XDG_RUNTIME_DIR", &session.0);
        command
    };
    let without = || user.command(&open.program);
    for with_first in [true, false, true] {
        let (mut first, mut second) = if with_first { (with(), without()) } else { (without(), with()) };
        let server = serve(&mut first, "store", "same");
        let (_, words) = open_door(&mut second, "store", "same");
        assert!(words.contains(&format!("is in use: process {} listens there", server.id())), "{words}");
        is_in(&try_door(&mut with(), "store", None));
        is_in(&try_door(&mut without(), "store", None));
        assert!(server.finish().success());
    }
    let words = try_door(&mut without(), "store", None);
    for place in [session.0.join("panpipe/store"), user.private_directory().join("store")] {
        assert!(words.contains(place.to_str().unwrap()), "{words}");
    }
    assert!(words.contains("XDG_RUNTIME_DIR") && words.contains("PipeName::of_user"), "{words}");
    // Any other value is a world of its own.
    let world = open.folder_of("world", &user, 0o700);
    let server = serve(&mut without(), "store", "same");
    let elsewhere = serve(without().env("XDG_RUNTIME_DIR", &world), "store", "same");
    assert!(server.finish().success() && elsewhere.finish().success());
}

#[test]
fn client_that_may_not_enter_a_private_directory_tries_the_public_one() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let (user, squatter) = (User::new(), User::new());
    let squatted = user.private_directory();
    fs::create_dir(&squatted).unwrap();
    chown(&squatted, Some(squatter.uid), Some(squatter.gid)).unwrap();
    fs::set_permissions(&squatted, fs::Permissions::from_mode(0o700)).unwrap();
    let words = try_door(&mut user.command(&open.program), "store", None);
    assert!(words.contains(&format!("its directory belongs to user {}", squatter.uid)), "{words}");
    assert!(words.contains("remove the directory, or set XDG_RUNTIME_DIR"), "{words}");
    let runtime = open.folder_of("runtime", &user, 0o700);
    let server = serve(user.command(&open.program).env("XDG_RUNTIME_DIR", runtime), "store", "anyone");
    is_in(&try_door(&mut user.command(&open.program), "store", None));
    assert!(server.finish().success());
}

#[test]
fn any_umask_leaves_names_usable() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let (user, friend) = (User::new(), User::new());
    let theirs = format!("user:{}:store", user.uid);
    for mask in [0o117, 0o277, 0o377, 0o777] {
        for access in ["same", "anyone"] {
            let mut command = user.command(&open.program);
            let mut server = serve(with_umask(&mut command, mask), "store", access);
            let mut command = user.command(&open.program);
            is_in(&try_door(with_umask(&mut command, mask), "store", None));
            if access == "anyone" {
                is_in(&try_door(&mut friend.command(&open.program), &theirs, None));
            }
            // What it leaves behind when it is killed is no obstacle.
            server.kill();
            let server = serve(&mut user.command(&open.program), "store", access);
            is_in(&try_door(&mut user.command(&open.program), "store", None));
            assert!(server.finish().success());
        }
        for directory in [user.private_directory(), user.public_directory()] {
            fs::remove_dir_all(directory).unwrap();
        }
    }
}

/// A server that starts under a umask makes its directory and its socket closed to its own
/// user, and opens them: a client that comes in between waits as for any server.
#[test]
fn what_a_umask_closes_until_a_server_starts_is_no_refusal() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let user = User::new();
    let close = |path: &Path| {
        chown(path, Some(user.uid), Some(user.gid)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    };
    let is_to_be_waited_for = || {
        let words = try_door(&mut user.command(&open.program), "store", None);
        assert!(words.starts_with("no server listens at ") && words.contains("umask"), "{words}");
    };
    for directory in [user.private_directory(), user.public_directory()] {
        fs::create_dir(&directory).unwrap();
        close(&directory);
        is_to_be_waited_for();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o711)).unwrap();
        let socket = directory.join("store");
        drop(UnixListener::bind(&socket).unwrap());
        close(&socket);
        is_to_be_waited_for();
        fs::remove_dir_all(&directory).unwrap();
    }
}

/// A directory whose path alone has 100 bytes.
fn long_directory(folder: &Path) -> PathBuf {
    let len = folder.as_os_str().len();
    let path = folder.join("x".repeat(100 - len - 1));
    fs::create_dir(&path).unwrap();
    assert_eq!(path.as_os_str().len(), 100);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[test]
fn long_runtime_directory_holds_names() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = long_directory(folder.path());
    let door = || {
        let mut command = Command::new(DOOR);
        command.env("XDG_RUNTIME_DIR", &runtime);
        command
    };
    let server = serve(&mut door(), "acme.store", "same");
    is_in(&try_door(&mut door(), "acme.store", None));
    let (_, words) = open_door(&mut door(), "acme.store", "same");
    assert!(words.contains(&format!("is in use: process {} listens there", server.id())), "{words}");
    assert!(server.finish().success());
    assert_eq!(fs::read_dir(runtime.join("panpipe")).unwrap().count(), 0);
    // As long as a name can be there.
    let longest = "n".repeat(85);
    let server = serve(&mut door(), &longest, "same");
    is_in(&try_door(&mut door(), &longest, None));
    assert!(server.finish().success());
    let words = try_door(&mut door(), &"n".repeat(86), None);
    assert!(words.contains("is 86 bytes long, it may be 85"), "{words}");
}

#[test]
fn names_work_without_proc() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let (user, stranger) = (User::new(), User::new());
    let door_of = |user: &User| {
        let mut command = Command::new(&open.program);
        without_proc(&mut command);
        run_as(&mut command, Ids { uid: user.uid, gid: user.gid, groups: &[] });
        command.env_remove("XDG_RUNTIME_DIR");
        command
    };
    let door = || door_of(&user);
    for access in ["same", "anyone"] {
        let server = serve(&mut door(), "store", access);
        is_in(&try_door(&mut door(), "store", None));
        is_in(&try_door(&mut user.command(&open.program), "store", None));
        if access == "anyone" {
            is_in(&try_door(&mut door_of(&stranger), &format!("user:{}:store", user.uid), None));
        }
        assert!(server.finish().success());
    }
    // What cannot be had says so.
    let folder = open.folder_of("folder", &user, 0o755);
    let runtime = long_directory(&folder);
    chown(&runtime, Some(user.uid), Some(user.gid)).unwrap();
    let (_, words) = open_door(door().env("XDG_RUNTIME_DIR", &runtime), "acme.store", "same");
    assert!(words.contains("its path is 119 bytes long, and a socket's may be 107"), "{words}");
    assert!(words.contains("where /proc is not mounted"), "{words}");
    let words = try_door(door().env("XDG_RUNTIME_DIR", &runtime), "acme.store", None);
    assert!(words.contains("its path is 119 bytes long"), "{words}");
}

/// A user namespace can be entered by this process's children.
fn can_enter_user_namespaces() -> bool {
    let can = in_user_namespace(&mut Command::new("true"), None).status().is_ok();
    if !can {
        eprintln!("SKIPPED: no user namespace can be entered here");
    }
    can
}

#[test]
fn names_work_in_a_user_namespace_with_one_user() {
    if !can_be_somebody_else() || !can_enter_user_namespaces() {
        return;
    }
    let open = Open::with(DOOR);
    let (user, stranger) = (User::new(), User::new());
    let inside = |user: &User| {
        let mut command = user.command(&open.program);
        in_user_namespace(&mut command, Some(user.uid));
        command
    };
    let server = serve(&mut inside(&user), "store", "same");
    is_in(&try_door(&mut inside(&user), "store", None));
    is_in(&try_door(&mut user.command(&open.program), "store", None));
    assert!(server.finish().success());
    // /tmp belongs to a user without a number there.
    let path = format!("/tmp/{}", unique_name("store"));
    let server = serve(&mut inside(&user), &path, "same").serving_at(Path::new(&path));
    is_in(&try_door(&mut inside(&user), &path, None));
    assert!(server.finish().success());
    let server = serve(&mut inside(&user), "store", "anyone");
    let theirs = format!("user:{}:store", user.uid);
    is_in(&try_door(&mut stranger.command(&open.program), &theirs, None));
    assert!(server.finish().success());
}

#[test]
fn users_without_a_number_are_not_taken_for_one_another() {
    if !can_be_somebody_else() || !can_enter_user_namespaces() {
        return;
    }
    let open = Open::with(DOOR);
    let (user, stranger) = (User::new(), User::new());
    let folder = open.folder_of("folder", &user, 0o755);
    let path = folder.join("pipe");
    let path = path.to_str().unwrap();
    // All users read as 65534 there, the server's own too.
    let unmapped = |user: &User| {
        let mut command = user.command(&open.program);
        in_user_namespace(&mut command, None);
        command
    };
    // An access that opens the socket's file, and lets nobody in but the server's own user.
    for access in ["uids:4", "uids:65534,4", "gids:65534,65535"] {
        let server = serve(&mut unmapped(&user), path, access);
        for command in [&mut stranger.command(&open.program), &mut unmapped(&stranger)] {
            let words = try_door(command, path, Some("anyone"));
            assert!(words.starts_with("turned away"), "{access}: {words}");
        }
        // The same user, whatever its number is.
        for command in [&mut user.command(&open.program), &mut unmapped(&user)] {
            is_in(&try_door(command, path, Some("anyone")));
        }
        assert!(server.finish().success());
    }
    // A client there does not trust another's server by default.
    let server = serve(&mut user.command(&open.program), path, "anyone");
    let words = try_door(&mut unmapped(&stranger), path, None);
    assert!(words.contains("is not trusted") && words.contains("nothing was sent"), "{words}");
    assert!(words.contains("has no number in this user namespace"), "{words}");
    is_in(&try_door(&mut unmapped(&user), path, None));
    let words = try_door(&mut unmapped(&stranger), &format!("user:65534:{}", "store"), None);
    assert!(!words.starts_with("good day"), "{words}");
    assert!(server.finish().success());
}

#[test]
fn program_with_the_set_user_id_bit_does_not_obey_its_callers_environment() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let (owner, caller) = (User::new(), User::new());
    chown(&open.program, Some(owner.uid), Some(owner.gid)).unwrap();
    fs::set_permissions(&open.program, fs::Permissions::from_mode(0o4755)).unwrap();
    let chosen = open.folder_of("chosen", &owner, 0o700);
    let server = serve(caller.command(&open.program).env("XDG_RUNTIME_DIR", &chosen), "store", "same");
    assert!(owner.private_directory().join("store").exists());
    assert_eq!(fs::read_dir(&chosen).unwrap().count(), 0);
    assert!(server.finish().success());
}

#[test]
fn directory_inside_another_users_is_refused_and_nothing_behind_a_link_is_changed() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(DOOR);
    let attacker = User::new();
    let theirs = open.folder_of("theirs", &attacker, 0o755);
    let (socket_directory, aside) = (theirs.join("sockets"), theirs.join("aside"));
    fs::create_dir(&socket_directory).unwrap();
    // What a link leads to while the directory is away.
    let target = open.path("target");
    fs::create_dir(&target).unwrap();
    let precious = target.join("pipe");
    fs::write(&precious, "precious").unwrap();
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o600)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                fs::rename(&socket_directory, &aside).unwrap();
                symlink(&target, &socket_directory).unwrap();
                fs::remove_file(&socket_directory).unwrap();
                fs::rename(&aside, &socket_directory).unwrap();
            }
        });
        let path = socket_directory.join("pipe");
        let bind = |_| open_door(&mut Command::new(DOOR), path.to_str().unwrap(), "anyone").1;
        let bound = std::panic::catch_unwind(AssertUnwindSafe(|| (0..40).map(bind).collect::<Vec<_>>()));
        done.store(true, Ordering::SeqCst);
        for words in bound.unwrap() {
            assert!(words.contains(theirs.to_str().unwrap()), "{words}");
            assert!(words.contains(&format!("belongs to user {}", attacker.uid)), "{words}");
        }
    });
    assert_eq!(fs::metadata(&precious).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    // A link of the attacker's on the way, in a directory in which everybody may make one.
    let common = open.path("common");
    fs::create_dir(&common).unwrap();
    fs::set_permissions(&common, fs::Permissions::from_mode(0o1777)).unwrap();
    let link = common.join("link");
    symlink(&target, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(attacker.uid), Some(attacker.gid)).unwrap();
    let (_, words) = open_door(&mut Command::new(DOOR), link.join("new").to_str().unwrap(), "anyone");
    assert!(words.contains(link.to_str().unwrap()), "{words}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    // One of root's own is followed.
    std::os::unix::fs::lchown(&link, Some(0), Some(0)).unwrap();
    let server = serve(&mut Command::new(DOOR), link.join("new").to_str().unwrap(), "anyone");
    assert!(server.finish().success());
}

#[test]
fn forked_child_leaves_its_parents_name_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let path = path.to_str().unwrap();
    let server = Process::start(Command::new(DOOR).args(["serve", path, "same", "fork"]));
    server.wait_for("ready");
    // The child has dropped its copy by now.
    is_in(&try_door(&mut Command::new(DOOR), path, None));
    let (_, words) = open_door(&mut Command::new(DOOR), path, "same");
    assert!(words.contains(&format!("is in use: process {} listens there", server.id())), "{words}");
    assert!(server.finish().success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn holder_of_a_name_in_another_pid_namespace_is_not_named_by_its_number_there() {
    if !can_be_somebody_else() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let path = path.to_str().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" \"$@\"; true", DOOR, "serve", path, "same"]);
    let server = Process::start(children_in_pid_namespace(&mut shell));
    server.wait_for("ready");
    let (_, words) = open_door(&mut Command::new(DOOR), path, "same");
    assert!(words.contains("is in use: a server listens there"), "{words}");
    assert!(server.finish().success());
}

/// Removes the file of a name while its server runs, and waits until it is there again.
async fn remove_and_await(path: &Path) {
    let before = fs::symlink_metadata(path).unwrap().ino();
    fs::remove_file(path).unwrap();
    eventually("the name is bound again", PATIENCE, async || {
        fs::symlink_metadata(path).is_ok_and(|there| there.ino() != before)
    })
    .await;
}

#[tokio::test]
async fn server_whose_socket_file_is_removed_binds_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let name = path.to_str().unwrap();
    let server = server_at(name, &[]);
    let early = client(name).await;
    for _ in 0..3 {
        remove_and_await(&path).await;
        assert_eq!(client(name).await.add(1, 2).await, Ok(3));
    }
    // With its lock file, and with its directory's other files.
    fs::remove_file(folder.path().join("pipe.lock")).unwrap();
    remove_and_await(&path).await;
    assert_eq!(client(name).await.add(1, 2).await, Ok(3));
    let (_, words) = open_door(&mut Command::new(DOOR), name, "same");
    assert!(words.contains("is in use"), "{words}");
    // Clients that were there before have stayed.
    assert_eq!(early.add(2, 2).await, Ok(4));
    assert!(server.finish().success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn blocking_server_whose_socket_file_is_removed_binds_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let name = path.to_str().unwrap();
    let server = Process::start(Command::new(env!("CARGO_BIN_EXE_threads")).args(["serve", name, "all"]));
    server.wait_for("ready");
    let _early = client(name).await;
    for _ in 0..3 {
        remove_and_await(&path).await;
        assert_eq!(client(name).await.add(1, 2).await, Ok(3));
    }
    assert!(server.finish().success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn server_whose_name_another_has_taken_meanwhile_keeps_its_clients() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let name = path.to_str().unwrap();
    let first = server_at(name, &[]);
    let early = client(name).await;
    assert_eq!(early.add(1, 2).await, Ok(3));
    first.stop();
    fs::remove_file(&path).unwrap();
    fs::remove_file(folder.path().join("pipe.lock")).unwrap();
    let second = server_at(name, &[]);
    first.signal(rustix::process::Signal::CONT);
    assert_eq!(early.add(2, 2).await, Ok(4));
    assert!(first.finish().success());
    // The first has removed nothing of the second's.
    assert_eq!(client(name).await.add(1, 2).await, Ok(3));
    let (_, words) = open_door(&mut Command::new(DOOR), name, "same");
    assert!(words.contains(&format!("is in use: process {} listens there", second.id())), "{words}");
    assert!(second.finish().success());
}

#[tokio::test]
async fn clients_whose_access_is_undecided_keep_no_others_out() {
    const UNDECIDED: usize = 20;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let access = Access::when_async(move |_| {
        let is_undecided = count.fetch_add(1, Ordering::SeqCst) < UNDECIDED;
        async move {
            if is_undecided {
                std::future::pending::<()>().await;
            }
            true
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let name = path.to_str().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let limits = Limits { max_clients: 2, handshake_timeout: Duration::from_secs(3600), ..Limits::default() };
    let server = Server::bind(name).allow(access).limits(limits).grace(Duration::from_millis(10));
    let server = server.service(Prober::default().serve());
    let server = server.start().unwrap();
    let mut undecided = Vec::new();
    for number in 1..=UNDECIDED {
        undecided.push(panpipe_transport::connect(name).await.unwrap());
        eventually("it is asked about", PATIENCE, async || asked.load(Ordering::SeqCst) == number).await;
    }
    let (one, two) = (client(name).await, client(name).await);
    assert_eq!(one.add(1, 2).await, Ok(3));
    assert_eq!(two.add(1, 2).await, Ok(3));
    let third = ProbeClient::connect(name).await.unwrap().add(1, 2).await;
    assert!(third.is_err_and(|error| error.to_string().contains("2 clients")));
    drop((one, two, undecided));
    server.shutdown().await.unwrap();
}
