//! Proof 23: something planted at the name, and two servers at once.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::Barrier;

use panpipe_tests::process::Process;
use panpipe_tests::{times, unique_name};
use panpipe_transport::{BindError, Listener};

use crate::common::{client, server_command};

#[tokio::test]
async fn proof_23_what_is_planted_at_a_name_is_refused_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let name = path.to_str().unwrap();
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();

    let refused = |what: &str| {
        let error = Listener::bind(name).unwrap_err();
        assert!(matches!(error, BindError::Occupied { .. }), "{error}");
        let words = error.to_string();
        assert!(words.contains(what) && words.contains(name) && words.contains("untouched"), "{words}");
    };
    symlink(&precious, &path).unwrap();
    refused("a symbolic link");
    assert_eq!(fs::read_link(&path).unwrap(), precious);
    fs::remove_file(&path).unwrap();

    // One that leads to nothing must not be followed either.
    symlink(folder.path().join("nothing"), &path).unwrap();
    refused("a symbolic link");
    assert!(!folder.path().join("nothing").exists());
    fs::remove_file(&path).unwrap();

    fs::write(&path, "a file").unwrap();
    refused("a file");
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    refused("a directory");
    assert!(path.is_dir());
    fs::remove_dir(&path).unwrap();

    // A symbolic link where the lock goes.
    symlink(&precious, folder.path().join("pipe.lock")).unwrap();
    assert!(Listener::bind(name).is_err());
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    fs::remove_file(folder.path().join("pipe.lock")).unwrap();

    // A living socket of another program.
    let other = UnixListener::bind(&path).unwrap();
    assert!(matches!(Listener::bind(name).unwrap_err(), BindError::InUse { .. }));
    drop(other);
    // And a dead one, which is taken over.
    let listener = Listener::bind(name).unwrap();
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    // What another has put in its place is not ours to remove.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another's").unwrap();
    drop(listener);
    assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
}

#[tokio::test]
async fn proof_23_a_directory_that_others_control_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let error = Listener::bind(open.join("pipe").to_str().unwrap()).unwrap_err();
    let words = error.to_string();
    assert!(words.contains(open.to_str().unwrap()) && words.contains("others can write"), "{words}");
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);

    // The user's own directory, planted beforehand with an open door.
    let runtime = folder.path().join("runtime");
    fs::create_dir_all(runtime.join("panpipe")).unwrap();
    fs::set_permissions(runtime.join("panpipe"), fs::Permissions::from_mode(0o755)).unwrap();
    let server = Process::start(server_command("name", &[]).env("XDG_RUNTIME_DIR", &runtime));
    let words = server.line();
    assert!(words.contains("others can enter it") && words.contains("0700"), "{words}");

    // A link in its place.
    fs::remove_dir(runtime.join("panpipe")).unwrap();
    symlink(&open, runtime.join("panpipe")).unwrap();
    let server = Process::start(server_command("name", &[]).env("XDG_RUNTIME_DIR", &runtime));
    assert!(server.line().contains("not a directory"));
    fs::remove_file(runtime.join("panpipe")).unwrap();

    // Somebody else's: only root can give a directory away to try it.
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: a directory of another user cannot be made without being root");
        return;
    }
    fs::create_dir(runtime.join("panpipe")).unwrap();
    std::os::unix::fs::chown(runtime.join("panpipe"), Some(65_534), Some(65_534)).unwrap();
    let server = Process::start(server_command("name", &[]).env("XDG_RUNTIME_DIR", &runtime));
    assert!(server.line().contains("belongs to user 65534"));
}

#[test]
fn proof_23_of_two_servers_that_start_at_once_exactly_one_lives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let name = path.to_str().unwrap();
    let barrier = Barrier::new(2);
    let rounds = times(300, 1000);
    let bind = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let mut lived = Vec::new();
        for _ in 0..rounds {
            barrier.wait();
            let listener = Listener::bind(name);
            // Looked at afterwards: the other thread waits for this one.
            lived.push(match &listener {
                Ok(_) => Ok(()),
                Err(BindError::InUse { .. }) => Err("in use".to_owned()),
                Err(other) => Err(other.to_string()),
            });
            // Both have tried before the one that lives ends.
            barrier.wait();
        }
        lived
    };
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(bind);
        (bind(), other.join().unwrap())
    });
    let mut won = 0;
    for both in one.iter().zip(&other) {
        match both {
            (Ok(()), Err(words)) | (Err(words), Ok(())) => assert_eq!(words, "in use"),
            both => panic!("{both:?}"),
        }
        won += usize::from(both.0.is_ok());
    }
    println!("of {rounds} races the first thread won {won}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn proof_23_of_two_server_processes_exactly_one_lives_and_serves() {
    for _ in 0..times(10, 100) {
        let name = unique_name("race");
        let mut both = [(); 2].map(|()| Process::start(&mut server_command(&name, &[])).serving(&name));
        let words = both.each_ref().map(Process::line);
        assert_eq!(words.iter().filter(|words| *words == "ready").count(), 1, "{words:?}");
        assert_eq!(words.iter().filter(|words| words.contains("is in use")).count(), 1, "{words:?}");
        assert_eq!(client(&name).await.add(1, 2).await, Ok(3));
        both.iter_mut().for_each(Process::kill);
    }
}
